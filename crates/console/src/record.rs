//! The records of the JSON output: its schema, version 1.
//!
//! Sizes are in bytes, MAC addresses twelve lower-case hex digits. Fields are never removed or
//! renamed within one schema version; new ones may be added.

pub(crate) mod consoles;
pub(crate) mod hardware;
mod jobs;
pub(crate) mod statistics;
pub(crate) mod top;

use crate::host::{DriveFacts, LogEntry};
use crate::names::drive_name;
use aoe::{MacAddress, Shelf, VlanId};
use consoles::{AlertRecord, CecRecord, ConsoleRecord, UserRecord};
use hardware::SmartRecord;
pub(crate) use jobs::JobRecord;
use serde::Serialize;
use shelf::admin::{DriveRole, DriveStatus, ElementId, ElementStatus, LunStatus, PartStatus};
use shelf::admin::{PortStatus, RaidState, SuperblockStatus};
use shelf::observe::LinkStatus;
use shelf::statistics::Rates;
use statistics::{
    ForgottenRecord, InitiatorRecord, LatencyRecord, Layers, LinkRecord, RatesRecord,
};

/// One element of `data`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Record {
    Drive(Box<DriveRecord>),
    Lun(LunRecord),
    Port {
        name: String,
        mac: String,
        /// All that it answers from, `mac` first.
        addresses: Vec<String>,
        mtu_bytes: usize,
        mode: String,
        /// `null` when the kernel does not say.
        link: Option<LinkRecord>,
        /// By layer, when they were asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        counters: Option<Layers>,
    },
    LunRates {
        lun: u8,
        #[serde(flatten)]
        rates: RatesRecord,
        /// Since the start; `null` before the LUN was served.
        read_latency: Option<LatencyRecord>,
        write_latency: Option<LatencyRecord>,
    },
    DriveRates {
        #[serde(flatten)]
        element: Option<ElementName>,
        drive: String,
        #[serde(flatten)]
        rates: RatesRecord,
    },
    Initiator(InitiatorRecord),
    ForgottenInitiators(ForgottenRecord),
    Top(Box<top::TopRecord>),
    Pass {
        lun: u8,
        part: u8,
        /// The member that is rebuilt; `null` for a resynchronisation.
        member: Option<u8>,
        /// What is done: `resync`, `rebuild` or `scrub`.
        job: &'static str,
        done_bytes: u64,
        total_bytes: u64,
        /// With two decimals, cut: 100 only when all is done.
        percent: String,
        bytes_per_s: u64,
        /// `null` while the rate is not known.
        seconds_left: Option<u64>,
    },
    Job(JobRecord),
    Spare {
        drive: String,
        slot: u16,
        size_bytes: u64,
        /// The only LUN that may take it.
        lun: Option<u8>,
        fault: Option<String>,
    },
    Scrub {
        lun: u8,
        /// `idle`, `running`, `paused` or `waiting`.
        state: &'static str,
        done_sectors: Option<u64>,
        total_sectors: u64,
        mismatched_sectors: u64,
        last_unix_seconds: Option<u64>,
        last_mismatched_sectors: u64,
        /// 0 for never.
        interval_days: u16,
        repaired_sectors: u64,
        last_repaired_sectors: u64,
        /// What scrubs do about members that differ: `report`, `located` or `all`.
        policy: &'static str,
        /// This one repairs all, because it was asked to.
        is_repair: bool,
    },
    /// A LUN or a spare of another shelf.
    Elsewhere {
        shelf: u16,
        /// `null` for a spare.
        lun: Option<u8>,
        levels: Vec<&'static str>,
        size_bytes: u64,
        drives: Vec<String>,
        /// Why it cannot be taken over.
        refusal: Option<String>,
        /// What to know before.
        remark: Option<String>,
    },
    Array {
        uuid: String,
        name: String,
        /// `null` for one that is not served.
        level: Option<&'static str>,
        size_bytes: u64,
        drives: Vec<String>,
        /// Why it cannot be taken over.
        refusal: Option<String>,
    },
    Mask {
        lun: u8,
        /// Empty: it answers everybody.
        masks: Vec<String>,
    },
    Reservation {
        lun: u8,
        /// RType of the reservation by key; `null` when there is none.
        #[serde(rename = "type")]
        kind: Option<u8>,
        /// The key that owns it.
        owner: Option<String>,
        generation: u32,
        /// Whom it is reserved for without keys.
        reserved: Vec<String>,
        keys: Vec<KeyRecord>,
    },
    Vlan {
        lun: u8,
        /// `null` for none.
        vlan: Option<u16>,
    },
    ReadOnly {
        lun: u8,
        read_only: bool,
    },
    ConfigString {
        lun: u8,
        /// `null` when the bytes are no text.
        config_string: Option<String>,
        config_string_hex: String,
    },
    Trouble {
        /// What it is about: `LUN 0`, `0.0.3`, `drive 1.4`.
        subject: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
    Counter {
        group: String,
        /// The LUN that it was counted for.
        #[serde(skip_serializing_if = "Option::is_none")]
        lun: Option<u8>,
        /// The port that it was counted for.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        name: &'static str,
        value: u64,
    },
    Shelf {
        shelf: Option<u16>,
    },
    /// A step of a plan (`-n`), in words.
    Plan {
        would: String,
    },
    /// What is so for every LUN, and cannot be otherwise.
    Fixed {
        lun: u8,
        setting: String,
        value: &'static str,
    },
    Date {
        /// In the time zone of the shelf.
        date: String,
        unix_seconds: u64,
        /// `null` for that of the machine.
        timezone: Option<String>,
    },
    Ntp {
        /// The time service that runs; `null` if none does.
        service: Option<String>,
        /// Whether one is switched on.
        enabled: bool,
        /// As the kernel says.
        synchronized: bool,
        /// Those that the service asks.
        servers: Vec<String>,
        /// `default`, `off` or `servers`.
        set: &'static str,
        set_servers: Vec<String>,
    },
    Timezone {
        timezone: String,
    },
    Uptime {
        seconds: u64,
        daemon_seconds: u64,
        /// Over 1, 5 and 15 minutes.
        load: [String; 3],
    },
    Fact {
        name: &'static str,
        value: String,
    },
    LunSerial {
        lun: u8,
        serial: String,
    },
    Machine {
        hostname: String,
        kernel: String,
        uptime_seconds: u64,
        load: [String; 3],
        memory_total_bytes: u64,
        memory_available_bytes: u64,
        daemon_resident_bytes: u64,
        cpus: Vec<CpuRecord>,
    },
    Mtu {
        name: String,
        mtu_bytes: usize,
    },
    Debug {
        debug: bool,
    },
    Motd {
        motd: String,
    },
    Syslog {
        /// Address and port; `null` for none.
        target: Option<String>,
    },
    /// A line of a configuration.
    Line {
        line: String,
    },
    /// A saved configuration.
    Saved {
        name: String,
    },
    Bundle {
        path: String,
    },
    RateLimit {
        bytes_per_second: u64,
        is_per_drive: bool,
    },
    Terminal {
        rows: Option<usize>,
        columns: Option<usize>,
        color: bool,
    },
    Events {
        shown: bool,
    },
    Console(ConsoleRecord),
    User(UserRecord),
    Cec(CecRecord),
    Log(LogEntry),
    Alert(AlertRecord),
    Smart(Box<SmartRecord>),
    DriveLife {
        drive: String,
        life_left_percent: Option<u8>,
    },
    DriveTemperature {
        drive: String,
        celsius: Option<i16>,
        celsius_limit: Option<i16>,
    },
    /// In milliseconds; 0 for no limit.
    RecoveryTimers {
        drive: String,
        read_ms: Option<u32>,
        write_ms: Option<u32>,
    },
    SelfTest {
        drive: String,
        /// `null` when none runs.
        remaining_percent: Option<u8>,
        kind: Option<String>,
        result: Option<String>,
        passed: Option<bool>,
        at_hours: Option<u64>,
    },
    SlotLed {
        slot: u16,
        /// `locate`, `fault`, `rebuild`, `spare`, or `reset` for nothing.
        state: &'static str,
    },
    SpareLeds {
        enabled: bool,
    },
    Temperature {
        location: String,
        celsius: i16,
        celsius_limit: Option<i16>,
    },
    Fan {
        fan: String,
        rpm: u32,
        faulty: bool,
    },
    PowerSupply {
        psu: String,
        /// `ok` or `fault`.
        status: &'static str,
        celsius: Option<i16>,
        rpm: Vec<u32>,
    },
    Release {
        product: &'static str,
        version: String,
        /// `null` on a machine that was not started from the image.
        image: Option<String>,
        /// In the other slot.
        other_image: Option<String>,
        next_image: Option<String>,
    },
    Update {
        running: String,
        /// In the other slot; `null` if none is there that may start.
        other: Option<String>,
        /// After a restart.
        next: String,
        /// Those that did not come up.
        failed: Vec<String>,
    },
    Help {
        command: &'static str,
        usage: &'static str,
        help: &'static str,
    },
}

/// What a CPU did since the machine was started, in clock ticks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CpuRecord {
    pub(crate) user: u64,
    pub(crate) system: u64,
    pub(crate) idle: u64,
    pub(crate) io_wait: u64,
    pub(crate) interrupts: u64,
}

/// A key of a reservation, sixteen hex digits, and the stations registered under it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct KeyRecord {
    pub(crate) key: String,
    pub(crate) macs: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct DriveRecord {
    drive: String,
    slot: u16,
    size_bytes: u64,
    state: &'static str,
    /// `free`, `spare`, `element`, `foreign` or `working`.
    role: &'static str,
    element: Option<ElementName>,
    /// What a foreign drive carries.
    carries: Option<String>,
    model: String,
    path: String,
    note: Option<String>,
    /// With `-a` and `-g`.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<AttributesRecord>,
    /// With `-c`: `null` for a drive that is neither a member in use nor a spare, or that is raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    superblock: Option<Option<SuperblockRecord>>,
    /// With `-s`: `normal`, `threshold exceeded`, `disabled` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    smart: Option<&'static str>,
    /// With `-S`: `null` for a drive that does not wear, or does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    life_left_percent: Option<Option<u8>>,
    /// With `-t`: `null` where there is no sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_celsius: Option<Option<i32>>,
    /// How much there is, also what `setsize` keeps from being used.
    whole_bytes: u64,
}

/// What the kernel tells of a drive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct AttributesRecord {
    device: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    wwn: Option<String>,
    firmware: Option<String>,
    bus: Option<String>,
    link_speed: Option<String>,
    is_rotating: Option<bool>,
    rpm: Option<u32>,
    logical_sector_bytes: Option<u32>,
    physical_sector_bytes: Option<u32>,
    has_volatile_cache: Option<bool>,
    has_fua: Option<bool>,
    has_poll_queues: Option<bool>,
    bay: Option<String>,
    place: Option<String>,
}

impl From<DriveFacts> for AttributesRecord {
    fn from(facts: DriveFacts) -> Self {
        Self {
            device: facts.device,
            model: facts.model,
            serial: facts.serial,
            wwn: facts.wwn,
            firmware: facts.firmware,
            bus: facts.bus,
            link_speed: facts.link_speed,
            is_rotating: facts.is_rotating,
            rpm: facts.rpm,
            logical_sector_bytes: facts.logical_sector_bytes,
            physical_sector_bytes: facts.physical_sector_bytes,
            has_volatile_cache: facts.has_volatile_cache,
            has_fua: facts.has_fua,
            has_poll_queues: facts.has_poll_queues,
            bay: facts.bay,
            place: facts.place,
        }
    }
}

/// What the superblock of a drive says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct SuperblockRecord {
    version: &'static str,
    array_uuid: String,
    device_uuid: String,
    device_number: u32,
    /// `null` for a spare.
    role: Option<u16>,
    events: u64,
}

impl From<SuperblockStatus> for SuperblockRecord {
    fn from(status: SuperblockStatus) -> Self {
        Self {
            version: status.version,
            array_uuid: status.array,
            device_uuid: status.device,
            device_number: status.device_number,
            role: status.role,
            events: status.events,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ElementName {
    lun: u8,
    part: u8,
    member: u8,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LunRecord {
    lun: u8,
    /// `online` or `offline`.
    status: &'static str,
    size_bytes: u64,
    label: Option<String>,
    serial: String,
    /// `null` when the bytes are no text; they are in `config_string_hex` in any case.
    config_string: Option<String>,
    config_string_hex: String,
    /// The stations that it answers; empty for all.
    masks: Vec<String>,
    /// Some host has reserved it.
    reserved: bool,
    /// `null` for none.
    vlan: Option<u16>,
    read_only: bool,
    /// Why it is not served, or not by itself.
    trouble: Option<String>,
    raids: Vec<RaidRecord>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct RaidRecord {
    part: u8,
    size_bytes: u64,
    level: &'static str,
    /// `null` for levels without chunks.
    chunk_bytes: Option<u32>,
    state: String,
    failed: bool,
    initing: bool,
    recovering: bool,
    degraded: bool,
    stalled: bool,
    elements: Vec<ElementRecord>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct ElementRecord {
    #[serde(flatten)]
    name: ElementName,
    state: &'static str,
    size_bytes: u64,
    drive: Option<String>,
    /// It is the drive that is being filled to take the place of the element, which has a row of its own.
    replacement: bool,
    /// Read errors that the others made good, halved every hour.
    read_errors: u32,
}

impl ElementName {
    fn new(id: ElementId) -> Self {
        Self {
            lun: id.lun.get(),
            part: id.part,
            member: id.member,
        }
    }
}

impl DriveRecord {
    pub(crate) fn new(shelf: Option<Shelf>, drive: &DriveStatus) -> Self {
        let (role, element, carries) = match &drive.role {
            DriveRole::Free => ("free", None, None),
            DriveRole::Spare => ("spare", None, None),
            DriveRole::Element(id) => ("element", Some(ElementName::new(*id)), None),
            DriveRole::Foreign(what) => ("foreign", None, Some(what.clone())),
            DriveRole::Working(_) => ("working", None, None),
        };
        Self {
            drive: drive_name(shelf, drive.slot),
            slot: drive.slot.0,
            size_bytes: drive.size_bytes,
            state: drive.state.name(),
            role,
            element,
            carries,
            model: drive.model.clone(),
            path: drive.path.clone(),
            note: drive.note.clone(),
            attributes: None,
            superblock: None,
            smart: None,
            life_left_percent: None,
            temperature_celsius: None,
            whole_bytes: drive.whole_bytes,
        }
    }

    pub(crate) fn with_attributes(&mut self, facts: DriveFacts) {
        self.attributes = Some(facts.into());
    }

    pub(crate) fn with_superblock(&mut self, status: Option<SuperblockStatus>) {
        self.superblock = Some(status.map(SuperblockRecord::from));
    }

    pub(crate) const fn with_smart(&mut self, status: &'static str) {
        self.smart = Some(status);
    }

    pub(crate) const fn with_life(&mut self, left_percent: Option<u8>) {
        self.life_left_percent = Some(left_percent);
    }

    pub(crate) const fn with_temperature(&mut self, celsius: Option<i32>) {
        self.temperature_celsius = Some(celsius);
    }
}

impl LunRecord {
    pub(crate) fn new(shelf: Option<Shelf>, lun: &LunStatus) -> Self {
        Self {
            lun: lun.lun.get(),
            status: status_name(lun.online),
            size_bytes: lun.size_bytes,
            label: lun.label.clone(),
            serial: lun.serial.clone(),
            config_string: text_of(&lun.config_string),
            config_string_hex: hex(&lun.config_string),
            masks: lun.access.masks.iter().map(MacAddress::to_string).collect(),
            reserved: !lun.access.reserved.is_empty() || lun.access.reservation.is_some(),
            vlan: lun.access.vlan.map(VlanId::get),
            read_only: lun.access.is_read_only,
            trouble: lun.trouble.clone(),
            raids: lun
                .parts
                .iter()
                .map(|part| RaidRecord::new(shelf, part))
                .collect(),
        }
    }
}

impl RaidRecord {
    fn new(shelf: Option<Shelf>, part: &PartStatus) -> Self {
        let RaidState {
            failed,
            initing,
            recovering,
            degraded,
        } = part.state;
        let elements = part
            .elements
            .iter()
            .map(|element| ElementRecord::new(shelf, element));
        Self {
            part: part.part,
            size_bytes: part.size_bytes,
            level: part.level.name(),
            chunk_bytes: part.chunk_bytes,
            state: part.state.to_string(),
            failed,
            initing,
            recovering,
            degraded,
            stalled: part.is_stalled,
            elements: elements.collect(),
        }
    }
}

impl ElementRecord {
    fn new(shelf: Option<Shelf>, element: &ElementStatus) -> Self {
        Self {
            name: ElementName::new(element.id),
            state: element.state.name(),
            size_bytes: element.size_bytes,
            drive: element.drive.map(|slot| drive_name(shelf, slot)),
            replacement: element.is_replacement,
            read_errors: element.read_errors,
        }
    }
}

impl Record {
    pub(crate) fn port(
        port: &PortStatus,
        link: Option<LinkStatus>,
        counters: Option<Layers>,
    ) -> Self {
        Self::Port {
            name: port.interface.clone(),
            mac: port.stations.first().to_string(),
            addresses: port.stations.iter().map(|mac| mac.to_string()).collect(),
            mtu_bytes: port.mtu_bytes,
            mode: port.mode.clone(),
            link: link.map(LinkRecord::from),
            counters,
        }
    }

    /// The rates of a drive, and the element that it is looked at for.
    pub(crate) fn drive_rates(element: Option<ElementId>, drive: String, rates: &Rates) -> Self {
        Self::DriveRates {
            element: element.map(ElementName::new),
            drive,
            rates: rates.into(),
        }
    }
}

/// Bytes as text, if they are any.
pub(crate) fn text_of(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The word for whether a LUN is served.
pub(crate) const fn status_name(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}
