//! What can go wrong with a command: texts and codes.

use crate::host::HostError;
use crate::lexer::LexError;
use raid::UnknownLevel;
use shelf::admin::AdminError;

/// Why a command, or a part of it, was not done. The texts are those of Coraid's console where it
/// had one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Lex(#[from] LexError),
    #[error("unknown command {name}{}", nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownCommand {
        name: String,
        nearest: Option<&'static str>,
    },
    #[error("{name} is not available: {reason}")]
    NotAvailable {
        name: &'static str,
        reason: &'static str,
    },
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("drives has no {option} here; {instead}")]
    Elsewhere {
        option: String,
        instead: &'static str,
    },
    #[error("LUN must be an integer between 0 and 254 inclusive")]
    InvalidLun(String),
    #[error("drive {0} does not exist: a drive is named shelf.slot, as 1.0")]
    InvalidDrive(String),
    #[error("{0} does not exist: an element is named LUN.part.drive, as 0.0.3")]
    InvalidElement(String),
    #[error("wrong shelf id {0}")]
    WrongShelf(String),
    #[error("invalid shelf number {0} [0-65534, not 4095]")]
    InvalidShelf(String),
    #[error("no LUN specified")]
    NoLun,
    #[error("wrong format of mask: {0}; as +001004012e81 or -001004012e81")]
    WrongMask(String),
    #[error("{0} is to be added and taken away")]
    MaskBoth(String),
    #[error("{0} is named twice")]
    NamedTwice(String),
    #[error("{0}")]
    Fixed(&'static str),
    #[error("invalid mode {0}: random or sequential")]
    InvalidMode(String),
    #[error("{0} is neither on nor off")]
    NotOnOff(String),
    #[error("interface {0} does not exist")]
    NoInterface(String),
    #[error("a message has at most 1024 characters, and no control characters")]
    InvalidMotd,
    #[error("the product is one word of at most 16 characters")]
    InvalidProduct,
    #[error("nothing is called {0} that could be set; set lists what there is")]
    NoSuchSetting(String),
    #[error("invalid address {0}: an IP address, perhaps with :port, or off")]
    InvalidAddress(String),
    #[error("invalid server {0}: a name or an address")]
    InvalidServer(String),
    #[error("invalid name {0}: at most 32 of letters, digits, - and _")]
    InvalidName(String),
    #[error("no line of a configuration: {0}")]
    NoConfiguration(String),
    #[error("would have to ask: {0}")]
    WouldAsk(String),
    #[error("vlanid must be in the range 1 to 4094")]
    InvalidVlan(String),
    #[error("seconds must be an integer between 1 and 32 inclusive")]
    InvalidSeconds(String),
    #[error("seconds to wait must be an integer between 0 and 31622400 inclusive")]
    InvalidWait(String),
    #[error("no terminal is of size {0}: rows from 2, columns from 20, to 1000")]
    InvalidSize(String),
    #[error("invalid time {0}: milliseconds from 0 to 6553500; 0 for no limit")]
    InvalidTimer(String),
    #[error("invalid minutes {0}: from 1 to 10080")]
    InvalidMinutes(String),
    #[error("invalid state: {0}")]
    InvalidLedState(String),
    #[error("{0} is not done yet; when tells how far it is")]
    StillBusy(String),
    #[error("drive {0} changed while the question was open; nothing was done to it")]
    DriveChanged(String),
    #[error("invalid size {0}: bytes, with K, M, G or T in units of 1000, or with S in sectors")]
    InvalidDriveSize(String),
    #[error("invalid sector {0}: the number of a sector of 512 bytes, from 0")]
    InvalidSector(String),
    #[error("{0} changes something, and {1} may only look")]
    NotAllowed(&'static str, String),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("invalid chunk size {0}: a power of two from 16 to 512, in KiB")]
    InvalidChunk(String),
    #[error(
        "invalid rate {0}: bytes a second, with K, M or G in units of 1024; 2G at most, 0 for no limit"
    )]
    InvalidRate(String),
    #[error(
        "LUNs are made with metadata of format 1.2, that of Linux md, which -V takes; not with format {0}: 0 and 1 were \
         those of Coraid's shelves"
    )]
    InvalidFormat(String),
    #[error("a raw LUN has no metadata, so that -V says nothing of it")]
    NoFormat,
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    #[error("{0} since you were asked; action canceled")]
    Meanwhile(String),
    #[error("a question was open and this is no answer to it; action canceled")]
    AnswerExpected,
    #[error("no question is open")]
    NoQuestion,
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("skipping: {0}")]
    Skipped(String),
    #[error("action canceled")]
    Canceled,
}

impl Problem {
    /// The line that tells it on a console.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Usage(_) | Self::Skipped(_) | Self::Canceled => self.to_string(),
            _ => format!("error: {self}"),
        }
    }

    /// The word for it in JSON; part of the interface, never to be changed.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Lex(LexError::UnbalancedQuote) => "unbalanced_quote",
            Self::Lex(LexError::SeriesBackwards(_) | LexError::SeriesTooLarge(_)) => "series",
            Self::UnknownCommand { .. } => "unknown_command",
            Self::NotAvailable { .. } => "not_available",
            Self::Usage(_) => "usage",
            Self::Elsewhere { .. } => "not_available",
            Self::InvalidLun(_) => "invalid_lun",
            Self::InvalidDrive(_) => "no_such_drive",
            Self::InvalidElement(_) => "no_such_element",
            Self::WrongShelf(_) => "wrong_shelf",
            Self::InvalidShelf(_) => "invalid_shelf",
            Self::NoLun => "no_lun",
            Self::WrongMask(_) => "wrong_mask",
            Self::Fixed(_) => "fixed",
            Self::InvalidMode(_) => "invalid_mode",
            Self::NotOnOff(_) => "not_on_off",
            Self::NoInterface(_) => "no_such_interface",
            Self::InvalidMotd => "invalid_motd",
            Self::InvalidProduct => "invalid_product",
            Self::NoSuchSetting(_) => "no_such_setting",
            Self::InvalidAddress(_) => "invalid_address",
            Self::InvalidName(_) => "invalid_name",
            Self::InvalidServer(_) => "invalid_server",
            Self::NoConfiguration(_) => "no_configuration",
            Self::WouldAsk(_) => "would_ask",
            Self::MaskBoth(_) => "contradiction",
            Self::NamedTwice(_) => "named_twice",
            Self::InvalidVlan(_) => "invalid_vlan",
            Self::InvalidChunk(_) => "invalid_chunk",
            Self::InvalidFormat(_) | Self::NoFormat => "invalid_format",
            Self::InvalidRate(_) => "invalid_rate",
            Self::InvalidSeconds(_) | Self::InvalidWait(_) => "invalid_seconds",
            Self::InvalidTimer(_) | Self::InvalidMinutes(_) => "invalid_time",
            Self::InvalidLedState(_) => "invalid_state",
            Self::InvalidSize(_) | Self::InvalidDriveSize(_) => "invalid_size",
            Self::InvalidSector(_) => "invalid_sector",
            Self::DriveChanged(_) => "drive_changed",
            Self::StillBusy(_) => "still_busy",
            Self::NotAllowed(..) => "not_allowed",
            Self::Host(HostError::Refused(_)) => "refused",
            Self::Host(HostError::Io(_)) => "io",
            Self::Level(_) => "unknown_level",
            Self::Meanwhile(_) => "changed_meanwhile",
            Self::AnswerExpected => "answer_expected",
            Self::NoQuestion => "no_question",
            Self::Admin(error) => admin_code(error),
            Self::Skipped(_) => "skipped",
            Self::Canceled => "canceled",
        }
    }

    /// The argument that it is about, if it is about one.
    pub(crate) fn arg(&self) -> Option<String> {
        match self {
            Self::Lex(LexError::SeriesBackwards(word) | LexError::SeriesTooLarge(word))
            | Self::UnknownCommand { name: word, .. }
            | Self::Elsewhere { option: word, .. }
            | Self::InvalidFormat(word)
            | Self::InvalidLun(word)
            | Self::InvalidDrive(word)
            | Self::InvalidElement(word)
            | Self::WrongShelf(word)
            | Self::InvalidShelf(word)
            | Self::WrongMask(word)
            | Self::InvalidMode(word)
            | Self::NotOnOff(word)
            | Self::NoInterface(word)
            | Self::NoSuchSetting(word)
            | Self::InvalidAddress(word)
            | Self::InvalidName(word)
            | Self::InvalidServer(word)
            | Self::NoConfiguration(word)
            | Self::WouldAsk(word)
            | Self::MaskBoth(word)
            | Self::NamedTwice(word)
            | Self::InvalidVlan(word)
            | Self::InvalidChunk(word)
            | Self::InvalidRate(word)
            | Self::InvalidSeconds(word)
            | Self::InvalidWait(word)
            | Self::InvalidSize(word)
            | Self::InvalidTimer(word)
            | Self::InvalidMinutes(word)
            | Self::InvalidLedState(word)
            | Self::InvalidDriveSize(word)
            | Self::InvalidSector(word)
            | Self::DriveChanged(word)
            | Self::StillBusy(word)
            | Self::Level(UnknownLevel(word))
            | Self::Skipped(word) => Some(word.clone()),
            Self::NotAllowed(name, _) | Self::NotAvailable { name, .. } => Some((*name).to_owned()),
            Self::Admin(error) => admin_arg(error),
            Self::Lex(LexError::UnbalancedQuote)
            | Self::Usage(_)
            | Self::NoLun
            | Self::Meanwhile(_)
            | Self::AnswerExpected
            | Self::NoQuestion
            | Self::Host(_)
            | Self::Fixed(_)
            | Self::InvalidMotd
            | Self::InvalidProduct
            | Self::NoFormat
            | Self::Canceled => None,
        }
    }
}

fn admin_code(error: &AdminError) -> &'static str {
    match error {
        AdminError::NoSuchLun(_) => "no_such_lun",
        AdminError::LunExists(_) => "lun_exists",
        AdminError::ShelfUnset => "shelf_unset",
        AdminError::NoSuchDrive(_) => "no_such_drive",
        AdminError::LunElsewhere { .. } => "lun_elsewhere",
        AdminError::CannotGrow { .. } => "cannot_grow",
        AdminError::Stopping => "stopping",
        AdminError::DriveNotUp { .. } => "drive_not_up",
        AdminError::DriveInUse(_) => "drive_in_use",
        AdminError::DriveForeign { .. } => "drive_foreign",
        AdminError::DriveTooSmall { .. } => "drive_too_small",
        AdminError::WrongMemberCount { .. } => "wrong_member_count",
        AdminError::InvalidChunk(_) => "invalid_chunk",
        AdminError::NoChunks(_) => "no_chunks",
        AdminError::TooManyMissing { .. } => "too_many_missing",
        AdminError::LunOnline { .. } => "lun_online",
        AdminError::AddressTaken(_) => "address_taken",
        AdminError::LunFailed { .. } => "lun_failed",
        AdminError::OnlineLuns => "online_luns",
        AdminError::InvalidShelf(_) => "invalid_shelf",
        AdminError::ConfigStringTooLong(_) => "config_string_too_long",
        AdminError::WrongMask(_) => "wrong_mask",
        AdminError::MaskListFull(_) => "mask_list_full",
        AdminError::NotRecorded(_) => "not_recorded",
        AdminError::NoSuchElement(_) => "no_such_element",
        AdminError::NotRedundant { .. } => "not_redundant",
        AdminError::RaidFailed(_) => "raid_failed",
        AdminError::UninitializedParity(_) => "uninitialized_parity",
        AdminError::AlreadyFailed(_) => "already_failed",
        AdminError::WouldFailRaid(_) => "would_fail_raid",
        AdminError::NotFailed(_) => "not_failed",
        AdminError::Replacement { .. } => "replacement",
        AdminError::MissingDevice(_) => "missing_device",
        AdminError::NotLargeEnough { .. } => "not_large_enough",
        AdminError::SectorsDoNotFit { .. } => "sectors_do_not_fit",
        AdminError::NothingElsewhere { .. } => "nothing_elsewhere",
        AdminError::NotAdoptable { .. } => "not_adoptable",
        AdminError::NoSuchArray(_) => "no_such_array",
        AdminError::AmbiguousArray(_) => "ambiguous_array",
        AdminError::NotImportable { .. } => "not_importable",
        AdminError::ScrubUnderWay(_) => "scrub_under_way",
        AdminError::LabelLength | AdminError::LabelUnprintable => "invalid_label",
        AdminError::NoScrub(_) => "no_scrub",
        AdminError::NotASpare(_) => "not_a_spare",
        AdminError::TooManySpares => "too_many_spares",
        AdminError::IoOutstanding { .. } => "io_outstanding",
        AdminError::DriveHasRole { .. } => "drive_has_role",
        AdminError::DriveBusy { .. } => "drive_busy",
        AdminError::NoJob(_) => "no_job",
        AdminError::JobRefused { .. } => "job_refused",
        AdminError::SizeTooLarge { .. } => "size_too_large",
        AdminError::Io(_) => "io",
    }
}

fn admin_arg(error: &AdminError) -> Option<String> {
    match error {
        AdminError::NoSuchLun(lun)
        | AdminError::LunExists(lun)
        | AdminError::ScrubUnderWay(lun)
        | AdminError::NoScrub(lun)
        | AdminError::MaskListFull(lun)
        | AdminError::NotRecorded(lun)
        | AdminError::LunElsewhere { lun, .. }
        | AdminError::CannotGrow { lun, .. }
        | AdminError::NotAdoptable { lun, .. }
        | AdminError::LunOnline { lun, .. }
        | AdminError::LunFailed { lun, .. } => Some(lun.to_string()),
        AdminError::NoSuchDrive(drive)
        | AdminError::DriveNotUp { drive, .. }
        | AdminError::DriveInUse(drive)
        | AdminError::DriveForeign { drive, .. }
        | AdminError::DriveTooSmall { drive, .. }
        | AdminError::IoOutstanding { drive, .. }
        | AdminError::DriveHasRole { drive, .. }
        | AdminError::DriveBusy { drive, .. }
        | AdminError::NoJob(drive)
        | AdminError::JobRefused { drive, .. }
        | AdminError::SizeTooLarge { drive, .. }
        | AdminError::NoSuchArray(drive)
        | AdminError::AmbiguousArray(drive)
        | AdminError::NotImportable { array: drive, .. }
        | AdminError::NotASpare(drive)
        | AdminError::NotLargeEnough { drive, .. }
        | AdminError::SectorsDoNotFit { drive, .. } => Some(drive.clone()),
        AdminError::NotRedundant { raid, .. }
        | AdminError::RaidFailed(raid)
        | AdminError::UninitializedParity(raid) => Some(raid.to_string()),
        AdminError::NoSuchElement(element)
        | AdminError::AlreadyFailed(element)
        | AdminError::WouldFailRaid(element)
        | AdminError::NotFailed(element)
        | AdminError::Replacement { element, .. }
        | AdminError::MissingDevice(element) => Some(element.to_string()),
        AdminError::WrongMask(mac) => Some(mac.to_string()),
        AdminError::WrongMemberCount { level, .. }
        | AdminError::NoChunks(level)
        | AdminError::TooManyMissing { level } => Some(level.to_string()),
        AdminError::NothingElsewhere { shelf, .. } => Some(shelf.to_string()),
        AdminError::InvalidChunk(number) | AdminError::InvalidShelf(number) => {
            Some(number.to_string())
        }
        AdminError::ShelfUnset
        | AdminError::LabelLength
        | AdminError::LabelUnprintable
        | AdminError::OnlineLuns
        | AdminError::TooManySpares
        | AdminError::Stopping
        | AdminError::AddressTaken(_)
        | AdminError::ConfigStringTooLong(_)
        | AdminError::Io(_) => None,
    }
}
