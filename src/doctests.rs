//! The Rust code of the README and of the book, compiled and run as documentation tests.

macro_rules! pages {
    ($($name:ident: $text:expr,)*) => {
        $(
            #[doc = $text]
            mod $name {}
        )*
    };
}

pages! {
    readme: include_str!("../README.md"),
    configuration: include_str!("../docs/src/configuration.md"),
    files: include_str!("../docs/src/files.md"),
    getting_started: include_str!("../docs/src/getting-started.md"),
    json_rpc: include_str!("../docs/src/json-rpc.md"),
    operating: include_str!("../docs/src/operating.md"),
    performance: include_str!("../docs/src/performance.md"),
    sessions: include_str!("../docs/src/sessions.md"),
    workers: include_str!("../docs/src/workers.md"),
}
