//! The rows of commands about the box, and of those that have one answer only.

use super::{ANY_NUMBER, BoxVerb, Command, Lists, Needs, Verb};

pub(super) const LABEL: Command = Command {
    verb: Verb::Label,
    name: "label",
    aliases: &[],
    usage: "label name LUN ...",
    summary: "name LUNs for people, with at most 16 characters",
    examples: &["label 'vm store' 3"],
    needs: Needs::Admin,
    options: "",
    operands_min: 2,
    operands_max: ANY_NUMBER,
};

pub(super) const UNLABEL: Command = Command {
    verb: Verb::Unlabel,
    name: "unlabel",
    aliases: &[],
    usage: "unlabel LUN ...",
    summary: "take labels away",
    examples: &["unlabel 3"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const SCAN: Command = Command {
    verb: Verb::Scan,
    name: "scan",
    aliases: &[],
    usage: "scan",
    summary: "look at all drives that are in no LUN, and take in what is found there",
    examples: &["scan"],
    needs: Needs::Admin,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const IOMODE: Command = Command {
    verb: Verb::Box(BoxVerb::IoMode),
    name: "iomode",
    aliases: &[],
    usage: "iomode [-j] [LUN ...]",
    summary: "list how LUNs read ahead: always random, there is no read-ahead",
    examples: &["iomode"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const SETIOMODE: Command = Command {
    verb: Verb::Box(BoxVerb::SetIoMode),
    name: "setiomode",
    aliases: &[],
    usage: "setiomode random|sequential LUN ...",
    summary: "ask for a way to read ahead; only random can be had",
    examples: &["setiomode random 0"],
    needs: Needs::Admin,
    options: "",
    operands_min: 2,
    operands_max: ANY_NUMBER,
};

pub(super) const FLUSHCACHESTAT: Command = Command {
    verb: Verb::Box(BoxVerb::FlushCacheStat),
    name: "flushcachestat",
    aliases: &[],
    usage: "flushcachestat [-j] [LUN ...]",
    summary: "list whether FLUSH CACHE is honoured: always, writes are acknowledged when they are durable",
    examples: &["flushcachestat 0"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const FLUSHCACHEENABLE: Command = Command {
    verb: Verb::Box(BoxVerb::FlushCacheEnable),
    name: "flushcacheenable",
    aliases: &[],
    usage: "flushcacheenable LUN ...",
    summary: "ask that FLUSH CACHE is honoured; it is",
    examples: &["flushcacheenable 0"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const FLUSHCACHEDISABLE: Command = Command {
    verb: Verb::Box(BoxVerb::FlushCacheDisable),
    name: "flushcachedisable",
    aliases: &[],
    usage: "flushcachedisable LUN ...",
    summary: "ask that FLUSH CACHE is not honoured; refused",
    examples: &["flushcachedisable 0"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const LUNFAILGUARD: Command = Command {
    verb: Verb::Box(BoxVerb::LunFailGuard),
    name: "lunfailguard",
    aliases: &[],
    usage: "lunfailguard [-j] [LUN ...]",
    summary: "list whether elements that a RAID needs are kept from being failed: always",
    examples: &["lunfailguard"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const LUNFAILGUARDENABLE: Command = Command {
    verb: Verb::Box(BoxVerb::LunFailGuardEnable),
    name: "lunfailguardenable",
    aliases: &[],
    usage: "lunfailguardenable LUN ...",
    summary: "ask that such elements are not failed; they are not",
    examples: &["lunfailguardenable 0"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const LUNFAILGUARDDISABLE: Command = Command {
    verb: Verb::Box(BoxVerb::LunFailGuardDisable),
    name: "lunfailguarddisable",
    aliases: &[],
    usage: "lunfailguarddisable LUN ...",
    summary: "ask that such elements can be failed; refused",
    examples: &["lunfailguarddisable 0"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const LUNSERIAL: Command = Command {
    verb: Verb::Box(BoxVerb::LunSerial),
    name: "lunserial",
    aliases: &[],
    usage: "lunserial [-j] LUN ...",
    summary: "list the serial numbers of LUNs, as initiators see them",
    examples: &["lunserial 0-3"],
    needs: Needs::Reader,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const MTU: Command = Command {
    verb: Verb::Box(BoxVerb::Mtu),
    name: "mtu",
    aliases: &[],
    usage: "mtu [-j] [interface [bytes]]",
    summary: "list the MTU of ports; it is set with the interface, before the shelf starts",
    examples: &["mtu"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 2,
};

pub(super) const DATE: Command = Command {
    verb: Verb::Box(BoxVerb::Date),
    name: "date",
    aliases: &[],
    usage: "date [-j] [day time]",
    summary: "tell the time, in the time zone of the shelf, or set the clock to it; not while a time service keeps the \
              clock: ntp off",
    examples: &[
        "date",
        "date 2026-11-27 01:10:03",
        "date 2026-11-27T01:10:03Z",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "",
    operands_min: 0,
    operands_max: 2,
};

pub(super) const NTP: Command = Command {
    verb: Verb::Box(BoxVerb::Ntp),
    name: "ntp",
    aliases: &[],
    usage: "ntp [-j] [off | default | server ...]",
    summary: "tell who keeps the clock, or have systemd-timesyncd keep it from these servers, also after a restart; \
              default: from those that the box has; off: nobody, the clock goes as it goes",
    examples: &[
        "ntp",
        "ntp 10.0.0.1 time.example.org",
        "ntp default",
        "ntp off",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const TIMEZONE: Command = Command {
    verb: Verb::Box(BoxVerb::Timezone),
    name: "timezone",
    aliases: &[],
    usage: "timezone [-l] [-j] [name]",
    summary: "tell the time zone of dates, or set it; local is that of the machine; -l lists all",
    examples: &["timezone", "timezone -l", "timezone Europe/Berlin"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "l",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const UPTIME: Command = Command {
    verb: Verb::Box(BoxVerb::Uptime),
    name: "uptime",
    aliases: &[],
    usage: "uptime [-j]",
    summary: "tell since when machine and shelf run, and the load",
    examples: &["uptime"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const MODEL: Command = Command {
    verb: Verb::Box(BoxVerb::Model),
    name: "model",
    aliases: &[],
    usage: "model [-j]",
    summary: "tell what the machine is, as its firmware says",
    examples: &["model"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const SERIAL: Command = Command {
    verb: Verb::Box(BoxVerb::Serial),
    name: "serial",
    aliases: &[],
    usage: "serial [-j]",
    summary: "tell the serial number of the machine, as its firmware says",
    examples: &["serial"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const SYSSTAT: Command = Command {
    verb: Verb::Box(BoxVerb::Sysstat),
    name: "sysstat",
    aliases: &[],
    usage: "sysstat [-j]",
    summary: "tell what memory and CPUs do, as key=value in blocks",
    examples: &["sysstat"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const MOTD: Command = Command {
    verb: Verb::Box(BoxVerb::Motd),
    name: "motd",
    aliases: &[],
    usage: "motd [-c] [text ...]",
    summary: "show what every session begins with, or set it; -c clears it",
    examples: &["motd", "motd 'maintenance on Sunday'", "motd -c"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "c",
    operands_min: 0,
    operands_max: ANY_NUMBER,
};

pub(super) const SYSLOG: Command = Command {
    verb: Verb::Box(BoxVerb::Syslog),
    name: "syslog",
    aliases: &[],
    usage: "syslog [address[:port] | off]",
    summary: "show where the log is sent by UDP (RFC 5424), beside where it goes anyway, or set it",
    examples: &["syslog", "syslog 10.0.0.1", "syslog off"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const SYSLOGTEST: Command = Command {
    verb: Verb::Box(BoxVerb::Syslogtest),
    name: "syslogtest",
    aliases: &[],
    usage: "syslogtest text ...",
    summary: "send a text to the syslog target",
    examples: &["syslogtest hello"],
    needs: Needs::Admin,
    options: "",
    operands_min: 1,
    operands_max: ANY_NUMBER,
};

pub(super) const DEBUG: Command = Command {
    verb: Verb::Box(BoxVerb::Debug),
    name: "debug",
    aliases: &[],
    usage: "debug [on | off]",
    summary: "tell whether the log tells everything, or change that until the next start",
    examples: &["debug", "debug on"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const SAVECONFIG: Command = Command {
    verb: Verb::Box(BoxVerb::Saveconfig),
    name: "saveconfig",
    aliases: &[],
    usage: "saveconfig [-f] [-j] [name]",
    summary: "list the commands that rebuild the configuration, or save them under a name; asks before one of that \
              name is replaced; -f does not",
    examples: &["saveconfig", "saveconfig before-move"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "f",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const RESTORECONFIG: Command = Command {
    verb: Verb::Box(BoxVerb::Restoreconfig),
    name: "restoreconfig",
    aliases: &[],
    usage: "restoreconfig [name]",
    summary: "list saved configurations, or run the commands of one that the shelf is not like; destroys nothing",
    examples: &["restoreconfig", "restoreconfig -n before-move"],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const SOS: Command = Command {
    verb: Verb::Box(BoxVerb::Sos),
    name: "sos",
    aliases: &[],
    usage: "sos [-j]",
    summary: "write a bundle for those who are to help: configuration, listings, counters, log; without passwords",
    examples: &["sos"],
    needs: Needs::Admin,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const SYNC: Command = Command {
    verb: Verb::Box(BoxVerb::Sync),
    name: "sync",
    aliases: &[],
    usage: "sync",
    summary: "make everything durable: what was acknowledged is, so that this returns at once",
    examples: &["sync"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const UPDATE: Command = Command {
    verb: Verb::Box(BoxVerb::Update),
    name: "update",
    aliases: &[],
    usage: "update [-n] [-r] [file | -b [-f]]",
    summary: "write a signed update, of which file is the path or the name on a USB stick, into the slot that is not in \
              use; it runs after reboot, and the version before it again if it does not come up; -b has the version of \
              the other slot run after reboot, if it is whole, until an update or another -b, which before the reboot \
              takes it back, as it does with an update; it asks; -f does not; -n only verifies; -r reboots when that is \
              done, without asking again; without file and -b: which versions there are",
    examples: &[
        "update",
        "update -n ledge-1.3.update",
        "update -r /var/tmp/ledge-1.3.update",
        "update -b",
    ],
    needs: Needs::AdminUnless(Lists::WithoutOperands),
    options: "nrbf",
    operands_min: 0,
    operands_max: 1,
};

pub(super) const REBOOT: Command = Command {
    verb: Verb::Box(BoxVerb::Reboot),
    name: "reboot",
    aliases: &[],
    usage: "reboot [-f]",
    summary: "stop the shelf in good order and start the machine anew; asks; -f does not",
    examples: &["reboot"],
    needs: Needs::Admin,
    options: "f",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const HALT: Command = Command {
    verb: Verb::Box(BoxVerb::Halt),
    name: "halt",
    aliases: &[],
    usage: "halt [-f]",
    summary: "stop the shelf in good order and switch the machine off; asks; -f does not",
    examples: &["halt"],
    needs: Needs::Admin,
    options: "f",
    operands_min: 0,
    operands_max: 0,
};

pub(super) const SET: Command = Command {
    verb: Verb::Box(BoxVerb::Set),
    name: "set",
    aliases: &[],
    usage: "set [name [value]]",
    summary: "list or set: batch on|off (each command ends with OK or FAIL n), product (first word of the prompt)",
    examples: &["set", "set batch on", "set product SRX"],
    needs: Needs::AdminUnless(Lists::OwnSession),
    options: "",
    operands_min: 0,
    operands_max: 2,
};

pub(super) const EXPERTMODE: Command = Command {
    verb: Verb::Box(BoxVerb::Expertmode),
    name: "expertmode",
    aliases: &[],
    usage: "expertmode",
    summary: "another prompt, as on Coraid's shelves, until exit; any command can be called as /command, too",
    examples: &["/expertmode"],
    needs: Needs::Reader,
    options: "",
    operands_min: 0,
    operands_max: 0,
};
