//! The rows of commands about drives themselves, their slots, and sensors.

use super::{ANY_NUMBER, Command, Lists, Needs, Verb};
use crate::command::HardwareVerb;

const fn row(verb: HardwareVerb, name: &'static str) -> Command {
    Command {
        verb: Verb::Hardware(verb),
        name,
        aliases: &[],
        usage: "",
        summary: "",
        examples: &[],
        needs: Needs::Reader,
        options: "",
        operands_min: 0,
        operands_max: ANY_NUMBER,
    }
}

pub(super) const SMARTLOG: Command = Command {
    usage: "smartlog [-j] drive ...",
    summary: "show what drives tell of their health: SMART status, temperature, hours, life left, sectors replaced, \
              pending and lost, errors, self-test; asked every ten minutes, or as the configuration has it, of drives \
              that do not sleep",
    examples: &["smartlog 1.0-3", "smartlog -j 1.0"],
    operands_min: 1,
    ..row(HardwareVerb::SmartLog, "smartlog")
};

pub(super) const SMARTENABLE: Command = Command {
    usage: "smartenable drive ...",
    summary: "let SATA drives keep count of their health",
    examples: &["smartenable 1.0-3"],
    needs: Needs::Admin,
    operands_min: 1,
    ..row(HardwareVerb::SmartEnable, "smartenable")
};

pub(super) const SMARTDISABLE: Command = Command {
    usage: "smartdisable drive ...",
    summary: "keep SATA drives from keeping count of their health",
    examples: &["smartdisable 1.0"],
    needs: Needs::Admin,
    operands_min: 1,
    ..row(HardwareVerb::SmartDisable, "smartdisable")
};

pub(super) const SSDHEALTH: Command = Command {
    usage: "ssdhealth [-j] [drive ...]",
    summary: "list the life that is left of drives, in percent; - for those that do not wear or do not tell",
    examples: &["ssdhealth", "ssdhealth 1.0-3"],
    ..row(HardwareVerb::SsdHealth, "ssdhealth")
};

pub(super) const DRIVETEMP: Command = Command {
    usage: "drivetemp [-j] [drive ...]",
    summary: "list the temperatures of drives, and the limits that they tell",
    examples: &["drivetemp", "drivetemp 1.0-3"],
    ..row(HardwareVerb::DriveTemp, "drivetemp")
};

pub(super) const ERCTIMERS: Command = Command {
    usage: "erctimers [-r ms] [-w ms] [-j] [drive ...]",
    summary: "list or set how long drives try to read and to write before they give up; 0 for as long as they like",
    examples: &["erctimers", "erctimers -r 7000 -w 7000 1.0-15"],
    needs: Needs::AdminUnless(Lists::WithoutValues),
    options: "r:w:",
    ..row(HardwareVerb::ErcTimers, "erctimers")
};

pub(super) const SELFTEST: Command = Command {
    usage: "selftest [short | long | abort] [-j] [drive ...]",
    summary: "let drives test themselves, in minutes or in hours, beside their work, or end that; else list how far \
              they are and what the last one found",
    examples: &["selftest", "selftest long 1.0-3", "selftest abort 1.3"],
    needs: Needs::AdminUnless(Lists::NamesOnly),
    ..row(HardwareVerb::SelfTest, "selftest")
};

pub(super) const SETSLOTLED: Command = Command {
    usage: "setslotled locate|fault|rebuild|reset|spare slot ...",
    summary: "let the LEDs of slots show something, until reset, which lets them show what the shelf knows: fault \
              of a drive that failed, rebuild of one that is being filled",
    examples: &["setslotled locate 3", "setslotled reset 0-15"],
    needs: Needs::Admin,
    operands_min: 2,
    ..row(HardwareVerb::SetSlotLed, "setslotled")
};

pub(super) const SLOTLED: Command = Command {
    usage: "slotled [-j] [slot ...]",
    summary: "list what the LEDs of slots show",
    examples: &["slotled", "slotled 0-3"],
    ..row(HardwareVerb::SlotLed, "slotled")
};

pub(super) const SPARELED: Command = Command {
    usage: "spareled [enable | disable] [-j]",
    summary: "tell or set whether LEDs show which drives are spares; they do not by default",
    examples: &["spareled", "spareled enable"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    operands_max: 1,
    ..row(HardwareVerb::SpareLed, "spareled")
};

pub(super) const LOCATE: Command = Command {
    usage: "locate on|off drive ... [minutes]",
    summary: "let the LEDs of drives blink, so that they can be found; for so many minutes, or until off",
    examples: &["locate on 1.3", "locate on 1.0-3 10", "locate off 1.3"],
    needs: Needs::Admin,
    operands_min: 2,
    ..row(HardwareVerb::Locate, "locate")
};

pub(super) const TEMP: Command = Command {
    usage: "temp [-j]",
    summary: "list what the thermometers of the box show; drivetemp lists those of drives",
    examples: &["temp"],
    operands_max: 0,
    ..row(HardwareVerb::Temp, "temp")
};

pub(super) const FANS: Command = Command {
    usage: "fans [-j]",
    summary: "list the fans of the box, and how fast they turn",
    examples: &["fans"],
    operands_max: 0,
    ..row(HardwareVerb::Fans, "fans")
};

pub(super) const POWER: Command = Command {
    usage: "power [-j]",
    summary: "list the power supplies of the box that the kernel knows",
    examples: &["power"],
    operands_max: 0,
    ..row(HardwareVerb::Power, "power")
};
