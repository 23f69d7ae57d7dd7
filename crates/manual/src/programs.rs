//! The command lines of the programs.

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};
use console::command::COMMANDS;

/// The command line of a program, from its own source: here only its words are of use.
macro_rules! command_line {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(
            dead_code,
            clippy::print_stderr,
            reason = "the program uses what the manual does not"
        )]
        mod $name;
    };
}

command_line!(ledged, "../../ledged/src/arguments.rs");
command_line!(ledge, "../../cli/src/bin/ledge/arguments.rs");
command_line!(cec_client, "../../cli/src/bin/cec/options.rs");
command_line!(aoeload, "../../../bench/aoeload/src/cli.rs");
command_line!(recover, "../../recover/src/arguments.rs");

/// A program.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Section of the manual: 1 for everybody, 8 for administrators.
    pub(crate) section: &'static str,
    pub(crate) command: Command,
}

/// All programs that are installed.
pub(crate) fn all() -> Vec<Program> {
    let program = |name, section, command: Command| Program {
        name,
        section,
        command: command.name(name),
    };
    vec![
        program("ledged", "8", ledged::Arguments::command()),
        program("ledge", "8", with_verbs(ledge::Arguments::command())),
        program("cec", "8", cec_client::Options::command()),
        program("aoeload", "1", aoeload::command()),
        program("ledge-recover", "8", recover::Arguments::command()),
    ]
}

/// A shell completes the console's commands after `ledge`, too.
fn with_verbs(command: Command) -> Command {
    let verbs = PossibleValuesParser::new(COMMANDS.iter().map(|command| command.name));
    command.mut_arg("command", |argument| {
        argument.value_parser(verbs).hide_possible_values(true)
    })
}

/// The manual page of a program.
pub(crate) fn page(program: &Program) -> anyhow::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(program.command.clone())
        .section(program.section)
        .date("")
        .manual("Ledge");
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok(page)
}
