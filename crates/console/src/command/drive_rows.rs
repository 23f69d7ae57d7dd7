//! The rows of commands that work on whole drives.

use super::{ANY_NUMBER, Command, DriveVerb, Lists, Needs, Verb};

pub(super) const ERASE: Command = Command {
    verb: Verb::OfDrive(DriveVerb::Erase),
    name: "erase",
    aliases: &[],
    usage: "erase [-f] drive ... | erase stop drive ...",
    summary: "overwrite drives with zeroes, all of each, also what setsize says; asks; -f does not ask; a drive that \
              can deallocate does that, so that nothing of the old is read from it again; one with a role is \
              refused; stop ends it, and leaves the drive half erased; without a drive, list what was erased",
    examples: &["erase 1.20", "erase -n 1.20-23", "erase stop 1.20", "erase"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "f",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const DISKTEST: Command = Command {
    verb: Verb::OfDrive(DriveVerb::Disktest),
    name: "disktest",
    aliases: &[],
    usage: "disktest [-r] [-w] [-f] drive ... | disktest stop drive ...",
    summary: "test the surface of drives: -r reads everything, slowly where a LUN or spare uses the drive; -w writes \
              everything and reads it back, which destroys what is there: asks, -f does not, and refuses a \
              drive with a role; without a drive, list what was found since the start",
    examples: &[
        "disktest -r 1.0-3",
        "disktest -w 1.20",
        "disktest stop 1.0",
        "disktest",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "rwf",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const CONDITION: Command = Command {
    verb: Verb::OfDrive(DriveVerb::Condition),
    name: "condition",
    aliases: &[],
    usage: "condition [-f] [-s sector] drive ... | condition stop drive ...",
    summary: "read all of drives, then write zeroes over the sectors that cannot be read, so that the drive puts good ones \
              in their place, and read those back; nothing that can be read is written; -s begin at a sector; asks; \
              -f does not ask; a drive that carries anything is refused: scrub does it for members of LUNs, with \
              their data; stop ends it; without a drive, list what was found and written anew",
    examples: &[
        "condition 1.20",
        "condition -n 1.20-23",
        "condition -s 1000000 1.20",
        "condition stop 1.20",
        "condition",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "fs:",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const EXTRACT: Command = Command {
    verb: Verb::OfDrive(DriveVerb::Extract),
    name: "extract",
    aliases: &[],
    usage: "extract [-f] [-y] [-s sector] drive drive | extract stop drive ...",
    summary: "copy all of the first drive onto the second one, to save what a drive that fails still gives: what can be \
              read first, then what could not, by the sector; the second one must carry nothing and be as large; it \
              ends at a sector that cannot be read, -f goes on, with zeroes there, and lists them; -s goes on with a \
              copy that was stopped, at the sector that is shown; asks; -y does not ask; an element of a \
              LUN is refused where replace copies it; of a LUN without redundancy, which must be offline, the copy \
              takes its place, and what was not read is an error to read; else pull one of the two afterwards, before \
              a host looks for what is on them; stop ends it; without a drive, list what was copied",
    examples: &[
        "extract 1.20 1.21",
        "extract -n 1.20 1.21",
        "extract -f 1.20 1.21",
        "extract -f -s 4194304 1.20 1.21",
        "extract stop 1.21",
        "extract",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "fys:",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const SETSIZE: Command = Command {
    verb: Verb::OfDrive(DriveVerb::Setsize),
    name: "setsize",
    aliases: &[],
    usage: "setsize [-f] size drive ... | setsize [-c] drive ...",
    summary: "use only so much of drives, in bytes or with K, M, G, T in units of 1000 or S for sectors; -c all of \
              it again; kept on the drive, in its last block, until erase; not while it is in use; \
              -f also on one that carries something",
    examples: &[
        "setsize 4000G 1.20-23",
        "setsize 7814037168S 1.5",
        "setsize -c 1.20",
    ],
    needs: Needs::Admin,
    options: "cf",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};
