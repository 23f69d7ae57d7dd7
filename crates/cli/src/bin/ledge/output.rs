//! What goes to the standard output and to the standard error.

use anyhow::Context;
use console::protocol::Response;
use console::session::PAGE;
use console::terminal::as_page;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// How lines begin that tell of a failure.
const FAILURE_STARTS: [&str; 4] = ["error:", "usage:", "skipping:", "\x1b[31merror:"];

/// Shows the output of a command.
pub(crate) fn show(response: &Response) -> anyhow::Result<()> {
    let is_failure =
        |line: &&str| !response.ok && FAILURE_STARTS.iter().any(|start| line.starts_with(start));
    // A new page has the screen for itself, where there is one.
    let output = if io::stdout().is_terminal() {
        as_page(&response.output)
    } else {
        response.output.replace(PAGE, "")
    };
    let (failures, rows): (Vec<&str>, Vec<&str>) =
        output.split_inclusive('\n').partition(is_failure);
    print(&mut io::stdout().lock(), &rows.concat()).context("cannot write the output")?;
    print(&mut io::stderr().lock(), &failures.concat()).context("cannot write errors")
}

/// Shows a question, or ends its line.
pub(crate) fn question(text: &str, json: bool) -> anyhow::Result<()> {
    let printed = if json {
        print(&mut io::stderr().lock(), text)
    } else {
        print(&mut io::stdout().lock(), text)
    };
    printed.context("cannot ask")
}

/// Tells why nothing could be asked of the shelf at all.
pub(crate) fn failure(error: &anyhow::Error, json: bool) {
    let printed = if json {
        let text = format!("{error:#}");
        print(
            &mut io::stdout().lock(),
            &console::error_document("unreachable", None, &text),
        )
    } else {
        print(&mut io::stderr().lock(), &format!("error: {error:#}\n"))
    };
    // There is nobody left to tell; the exit code still does.
    drop(printed);
}

/// Writes at once. A reader that has seen enough, as `head` has, is no failure.
fn print(stream: &mut impl Write, text: &str) -> io::Result<()> {
    match stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
