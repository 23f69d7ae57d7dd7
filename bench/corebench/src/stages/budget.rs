//! The budgets, read from the documentation of the modules that the stages are in.

use super::Name;
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a stage may take for a request of 8 KiB.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Budget {
    /// On one core of about 2.6 GHz; not checked, since machines differ.
    pub(super) ns: u32,
    /// With the vectors that valgrind has, AVX2; more fail `make test`.
    pub(super) instructions: u32,
}

impl Budget {
    pub(super) fn of(name: Name) -> Result<Self> {
        let text = name.text();
        Self::find(source(name), &text)
            .with_context(|| format!("the module of the stage {text} tells no budget"))
    }

    /// Reads the line of a module's documentation that tells the budget of a stage.
    fn find(source: &str, stage: &str) -> Option<Self> {
        let start = format!("//! Budget (`corebench stages {stage}`): ");
        let told = source.lines().find_map(|line| line.strip_prefix(&start))?;
        let (ns, rest) = told.split_once(" ns, ")?;
        let instructions = rest.strip_suffix(" instructions.")?;
        Some(Self {
            ns: ns.parse().ok()?,
            instructions: instructions.parse().ok()?,
        })
    }
}

/// All of them, by stage.
pub(super) fn all() -> Result<BTreeMap<String, Budget>> {
    let names = Name::value_variants().iter().copied();
    let budgets = names.map(|name| Ok((name.text(), Budget::of(name)?)));
    budgets.collect()
}

/// The module that a stage is in.
const fn source(name: Name) -> &'static str {
    macro_rules! of {
        ($path:literal) => {
            include_str!(concat!("../../../../crates/", $path))
        };
    }
    match name {
        Name::Receive | Name::Transmit => of!("port/src/xdp.rs"),
        Name::Parse => of!("aoe/src/request.rs"),
        Name::Admit => of!("shelf/src/target/admit.rs"),
        Name::Order => of!("shelf/src/order.rs"),
        Name::Map => of!("raid/src/geometry.rs"),
        Name::Watch => of!("shelf/src/patience.rs"),
        Name::Execute => of!("disk/src/executor.rs"),
        Name::Reply => of!("shelf/src/target/answer.rs"),
        Name::Slices => of!("shelf/src/target/stripe.rs"),
        Name::Parity => of!("raid/src/parity.rs"),
        Name::Log => of!("raid/src/log/codec.rs"),
        Name::Checksum => of!("raid/src/checksum.rs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_from_a_whole_line() {
        let line = "//! Budget (`corebench stages map`): 30 ns, 120 instructions.";
        let budget = Budget {
            ns: 30,
            instructions: 120,
        };
        assert_eq!(
            Budget::find(&format!("//! Map.\n{line}\n"), "map"),
            Some(budget)
        );
        assert_eq!(Budget::find(line, "parse"), None);
        assert_eq!(Budget::find(&line.replace("120", "few"), "map"), None);
    }
}
