//! Lines that JSON-RPC servers say, for floods of them.

/// What a JSON-RPC server may say, by its name: one line of each kind, with a place for the number of a call and one for
/// any text. `protocol/rpc/tests.rs` sees to it that no kind is missing.
pub(crate) const SERVER_LINES: [(&str, &str); 15] = [
    ("an answer that was never asked for", r#"{"jsonrpc":"2.0","id":99999999,"result":"TEXT"}"#),
    (
        "an error that was never asked for",
        r#"{"jsonrpc":"2.0","id":99999999,"error":{"code":1,"message":"TEXT"}}"#,
    ),
    ("the answer", r#"{"jsonrpc":"2.0","id":CALL,"result":"TEXT"}"#),
    ("an answer to nothing", r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"TEXT"}}"#),
    ("an answer to the session", r#"{"jsonrpc":"2.0","id":"ostler-1","result":"TEXT"}"#),
    ("an answer to a stranger", r#"{"jsonrpc":"2.0","id":"TEXT","result":1}"#),
    ("a notification", r#"{"jsonrpc":"2.0","method":"TEXT","params":[[],{}]}"#),
    ("a notification with parameters", r#"{"jsonrpc":"2.0","method":"note","params":{"text":"TEXT"}}"#),
    (
        "progress",
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":CALL,"text":"TEXT"}}"#,
    ),
    ("a question", r#"{"jsonrpc":"2.0","id":"TEXT","method":"ask","params":{}}"#),
    ("a ping", r#"{"jsonrpc":"2.0","id":"TEXT","method":"ping"}"#),
    ("a wrong message", r#"{"jsonrpc":"1.0","id":CALL,"result":"TEXT"}"#),
    ("a broken message", r#"{"jsonrpc":"2.0","TEXT"#),
    ("a batch", r#"[{"jsonrpc":"2.0","method":"note"},{"jsonrpc":"2.0","method":"TEXT"},1,1,1,1]"#),
    ("a stray line", "TEXT"),
];
