//! What is typed with a colon before it: commands to the program, not to Python.

use ostler::{Request, Stream, Value};

use super::session::{Flow, Repl};

const HELP: &str = "\
:vars   the names of the session, with type and value
:save   save the state of a session with a name (--session NAME)
:help   this list
";

/// The names with their types and short values. One expression, so that it leaves no name behind.
const VARS: &str = "(lambda names: [[name, type(value).__name__, __import__('reprlib').repr(value)] for name, value in \
                    sorted(names.items()) if not name.startswith('_') and type(value).__name__ != 'module'])\
                    (dict(globals()))";

impl Repl {
    /// Performs the command that a statement is, if it is one.
    pub(crate) async fn command(&mut self, statement: &str) -> Option<Flow> {
        let command = statement.trim().strip_prefix(':')?;
        match command.trim() {
            "vars" => self.vars().await,
            "save" => self.save().await,
            "help" => self.screen.write(Stream::Stdout, HELP).await,
            other => self.screen.say(&format!("there is no command `:{other}`; see :help")).await,
        }
        Some(Flow::Go)
    }

    async fn vars(&mut self) {
        let report = match self.session().run(Request::python(VARS).label("vars").allow_input(false)).await {
            Ok(report) => report,
            Err(error) => return self.screen.say(&format!("the names cannot be told: {error}")).await,
        };
        let page = match report.value() {
            Some(Value::List(rows)) if rows.is_empty() => "no names\n".to_owned(),
            Some(Value::List(rows)) => rows.iter().filter_map(row).collect(),
            Some(_) | None => {
                return self.screen.say(&format!("the names cannot be told: {}", report.outcome)).await;
            }
        };
        self.screen.write(Stream::Stdout, page).await;
    }

    async fn save(&mut self) {
        if self.session().name().is_none() {
            return self
                .screen
                .say("this session has no name; start with --session NAME to keep its state")
                .await;
        }
        let told = match self.session().save().await {
            Ok(generation) => format!("saved, generation {generation}"),
            Err(error) => format!("not saved: {error}"),
        };
        self.screen.say(&told).await;
    }
}

fn row(row: &Value) -> Option<String> {
    let Value::List(cells) = row else { return None };
    let [name, kind, value] = cells.as_slice() else { return None };
    Some(format!("{:<16} {:<12} {}\n", name.as_str()?, kind.as_str()?, value.as_str()?))
}
