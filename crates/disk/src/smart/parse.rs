//! The JSON of `smartctl -x`, in the schema that its own manual page points to (`json_format_version` 1).
//!
//! Every field may be absent, or be of another type than expected: then it is not known. What lacks the exit
//! status, or is of another version of the schema, is no answer.

use serde_json::Value;
use shelf::smart::{RecoveryTimers, SelfTest, Smart};

/// Errors of a drive's log that are kept, the newest.
const ERRORS_MAX: usize = 8;

/// The bit of the exit status for a drive that says that it fails.
const EXIT_FAILING: u8 = 1 << 3;

/// The bit of NVMe's critical warning that is about the temperature alone.
const NVME_TEMPERATURE: u64 = 1 << 1;

/// The code with which SCSI drives warn of what is no failure: temperature, power.
const SCSI_WARNING: u64 = 0x0b;

/// Normalised attributes of SATA drives that count life down from 100, by their names in the database of
/// smartmontools.
const LIFE_LEFT: &[&str] = &[
    "SSD_Life_Left",
    "Percent_Lifetime_Remain",
    "Remaining_Lifetime_Perc",
    "Media_Wearout_Indicator",
    "Wear_Leveling_Count",
];

/// How a line begins that follows the reason.
const GIVES_UP: &str = "A mandatory SMART command failed";

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of somebody else.
    #[error("it told no exit status")]
    NoStatus,
    /// It is of a later `smartctl`, whose fields may mean something else.
    #[error("its JSON is of version {0}, and only {FORMAT_VERSION} is understood")]
    Version(u64),
}

/// The version of the schema.
const FORMAT_VERSION: u64 = 1;

/// Reads an answer.
///
/// # Errors
/// It is not JSON, or not that of `smartctl`.
pub fn parse(json: &str) -> Result<Smart, ParseError> {
    Ok(Answer::read(json)?.smart())
}

/// A document, and what is looked up in it.
pub(super) struct Answer(pub(super) Value);

impl Answer {
    /// Reads one.
    pub(super) fn read(json: &str) -> Result<Self, ParseError> {
        let answer = Self(serde_json::from_str(json)?);
        match answer.number("/json_format_version/0") {
            Some(version) if version != FORMAT_VERSION => Err(ParseError::Version(version)),
            _ if answer.number("/smartctl/exit_status").is_none() => Err(ParseError::NoStatus),
            _ => Ok(answer),
        }
    }

    /// What it tells of the drive.
    pub(super) fn smart(&self) -> Smart {
        let answer = self;
        Smart {
            is_supported: answer.flag("/smart_support/available"),
            is_enabled: answer.flag("/smart_support/enabled"),
            has_passed: answer.has_passed(),
            predicts_failure: answer.predicts_failure(),
            celsius: answer.celsius(),
            celsius_limit: answer.celsius_limit(),
            power_on_hours: answer.number("/power_on_time/hours"),
            life_left_percent: answer.life_left(),
            reallocated_sectors: answer
                .attribute(5)
                .or_else(|| answer.number("/scsi_grown_defect_list")),
            pending_sectors: answer
                .attribute(197)
                .or_else(|| answer.number("/scsi_pending_defects/count")),
            uncorrectable_sectors: answer.attribute(198),
            media_errors: answer
                .number("/nvme_smart_health_information_log/media_errors")
                .or_else(|| answer.scsi_errors()),
            error_count: answer.first_number(&[
                "/ata_smart_error_log/extended/count",
                "/ata_smart_error_log/summary/count",
                "/nvme_smart_health_information_log/num_err_log_entries",
            ]),
            errors: answer.errors(),
            self_test: answer.self_test(),
            recovery: answer.recovery(),
            is_nvme: answer.text("/device/protocol") == Some("NVMe"),
            exit_status: answer.exit_status(),
        }
    }

    pub(super) fn number(&self, at: &str) -> Option<u64> {
        self.0.pointer(at)?.as_u64()
    }

    fn first_number(&self, at: &[&str]) -> Option<u64> {
        at.iter().find_map(|at| self.number(at))
    }

    fn flag(&self, at: &str) -> Option<bool> {
        self.0.pointer(at)?.as_bool()
    }

    fn text(&self, at: &str) -> Option<&str> {
        self.0.pointer(at)?.as_str()
    }

    fn list(&self, at: &str) -> &[Value] {
        let list = self.0.pointer(at).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    pub(super) fn exit_status(&self) -> u8 {
        let status = self.number("/smartctl/exit_status").unwrap_or(0);
        u8::try_from(status).unwrap_or(u8::MAX)
    }

    /// The first thing that `smartctl` complains of.
    pub(super) fn complaint(&self) -> Option<&str> {
        let messages = self.list("/smartctl/messages").iter();
        let mut texts = messages.filter_map(|message| message.get("string")?.as_str());
        texts.next()
    }

    /// The last thing that it has written for people: of a command that the drive must not refuse, and has
    /// refused, it tells nowhere else.
    pub(super) fn last_words(&self) -> Option<&str> {
        let lines = self.list("/smartctl/output").iter().rev();
        let mut lines = lines.filter_map(Value::as_str);
        lines.find(|line| !line.trim().is_empty() && !line.starts_with(GIVES_UP))
    }

    fn has_passed(&self) -> Option<bool> {
        let failing = self.exit_status() & EXIT_FAILING != 0;
        self.flag("/smart_status/passed")
            .or_else(|| failing.then_some(false))
    }

    fn predicts_failure(&self) -> bool {
        let nvme = "/nvme_smart_health_information_log/critical_warning";
        let is_temperature = match (
            self.number(nvme)
                .or_else(|| self.number("/smart_status/nvme/value")),
            self.number("/smart_status/scsi/asc"),
        ) {
            (Some(warning), _) => warning & !NVME_TEMPERATURE == 0,
            (None, Some(code)) => code == SCSI_WARNING,
            (None, None) => false,
        };
        self.has_passed() == Some(false) && !is_temperature
    }

    fn attribute_by(&self, wanted: impl Fn(&Value) -> bool) -> Option<&Value> {
        let mut table = self.list("/ata_smart_attributes/table").iter();
        table.find(|attribute| wanted(attribute))
    }

    /// The raw value of an attribute. Above 32 bits vendors put other things.
    fn attribute(&self, id: u64) -> Option<u64> {
        let of = self.attribute_by(|attribute| attribute["id"].as_u64() == Some(id))?;
        Some(of.pointer("/raw/value")?.as_u64()? & 0xffff_ffff)
    }

    fn celsius(&self) -> Option<i16> {
        let celsius = self.0.pointer("/temperature/current")?.as_i64()?;
        // A SCSI drive without a thermometer says 0, of now and of the limit.
        let is_scsi = self.text("/device/protocol") == Some("SCSI");
        let is_unknown = is_scsi && celsius == 0;
        i16::try_from(celsius).ok().filter(|_| !is_unknown)
    }

    fn celsius_limit(&self) -> Option<i16> {
        let told = self.first_number(&[
            "/temperature/op_limit_max",
            "/temperature/drive_trip",
            "/scsi_temperature/drive_trip",
            "/nvme_composite_temperature_threshold/warning",
        ]);
        i16::try_from(told?).ok().filter(|limit| *limit > 0)
    }

    fn life_left(&self) -> Option<u8> {
        let used = self.first_number(&[
            "/endurance_used/current_percent",
            "/nvme_smart_health_information_log/percentage_used",
            "/scsi_percentage_used_endurance_indicator",
        ]);
        // It may be more than 100: the drive still works.
        let left = |used: u64| u8::try_from(100 - used.min(100)).ok();
        if let Some(used) =
            used.or_else(|| self.device_statistic("Percentage Used Endurance Indicator"))
        {
            return left(used);
        }
        let is_life = |attribute: &Value| {
            let name = attribute["name"].as_str();
            name.is_some_and(|name| LIFE_LEFT.contains(&name))
        };
        let value = self.attribute_by(is_life)?.get("value")?.as_u64()?;
        u8::try_from(value).ok().filter(|value| *value <= 100)
    }

    fn device_statistic(&self, name: &str) -> Option<u64> {
        let pages = self.list("/ata_device_statistics/pages").iter();
        let mut rows = pages.flat_map(|page| page["table"].as_array().into_iter().flatten());
        let row = rows.find(|row| row["name"].as_str() == Some(name))?;
        let is_valid = row.pointer("/flags/valid").and_then(Value::as_bool);
        row["value"].as_u64().filter(|_| is_valid != Some(false))
    }

    fn scsi_errors(&self) -> Option<u64> {
        let of = |kind: &str| {
            self.number(&format!(
                "/scsi_error_counter_log/{kind}/total_uncorrected_errors"
            ))
        };
        let all: Vec<u64> = ["read", "write", "verify"]
            .into_iter()
            .filter_map(of)
            .collect();
        (!all.is_empty()).then(|| all.iter().sum())
    }

    fn errors(&self) -> Vec<String> {
        let ata = ["extended", "summary"]
            .map(|log| self.list(&format!("/ata_smart_error_log/{log}/table")));
        let ata = ata
            .into_iter()
            .find(|table| !table.is_empty())
            .unwrap_or_default();
        let of_ata = |entry: &Value| {
            let text = entry["error_description"].as_str()?;
            let at = entry["lifetime_hours"].as_u64();
            Some(at.map_or_else(|| text.to_owned(), |at| format!("at {at} h: {text}")))
        };
        let of_nvme = |entry: &Value| {
            let text = entry.pointer("/status_field/string")?.as_str()?;
            let lba = entry.pointer("/lba/value").and_then(Value::as_u64);
            Some(lba.map_or_else(|| text.to_owned(), |lba| format!("{text} at LBA {lba}")))
        };
        let nvme = self.list("/nvme_error_information_log/table").iter();
        let all = ata
            .iter()
            .filter_map(of_ata)
            .chain(nvme.filter_map(of_nvme));
        all.map(printable).take(ERRORS_MAX).collect()
    }

    fn recovery(&self) -> Option<RecoveryTimers> {
        let of = |kind: &str| {
            let timer = self.0.pointer(&format!("/ata_sct_erc/{kind}"))?;
            let is_enabled = timer["enabled"].as_bool()?;
            // Absent where it is not limited.
            let tenths = timer["deciseconds"]
                .as_u64()
                .filter(|_| is_enabled)
                .unwrap_or(0);
            u32::try_from(tenths * 100).ok()
        };
        Some(RecoveryTimers {
            read_ms: of("read")?,
            write_ms: of("write")?,
        })
    }

    fn self_test(&self) -> SelfTest {
        [
            Self::ata_self_test,
            Self::nvme_self_test,
            Self::scsi_self_test,
        ]
        .into_iter()
        .find_map(|of| of(self))
        .unwrap_or_default()
    }

    fn ata_self_test(&self) -> Option<SelfTest> {
        let status = self.0.pointer("/ata_smart_data/self_test/status")?;
        let remaining = status["remaining_percent"].as_u64();
        let logs = ["extended", "standard"];
        let logs = logs.map(|log| self.list(&format!("/ata_smart_self_test_log/{log}/table")));
        let last = logs.into_iter().find_map(|table| table.first());
        if let Some(remaining) = remaining {
            return Some(SelfTest {
                remaining_percent: u8::try_from(remaining).ok(),
                ..SelfTest::default()
            });
        }
        let last = last?;
        Some(SelfTest {
            remaining_percent: None,
            kind: string(last, "/type/string"),
            result: string(last, "/status/string"),
            has_passed: last.pointer("/status/passed").and_then(Value::as_bool),
            at_hours: last["lifetime_hours"].as_u64(),
        })
    }

    fn nvme_self_test(&self) -> Option<SelfTest> {
        let log = self.0.pointer("/nvme_self_test_log")?;
        let running = log
            .pointer("/current_self_test_operation/value")
            .and_then(Value::as_u64);
        if running.is_some_and(|operation| operation != 0) {
            let done = log["current_self_test_completion_percent"]
                .as_u64()
                .unwrap_or(0);
            return Some(SelfTest {
                remaining_percent: u8::try_from(100 - done.min(100)).ok(),
                kind: string(log, "/current_self_test_operation/string"),
                ..SelfTest::default()
            });
        }
        let last = log["table"].as_array()?.first()?;
        let code = last
            .pointer("/self_test_result/value")
            .and_then(Value::as_u64);
        Some(SelfTest {
            remaining_percent: None,
            kind: string(last, "/self_test_code/string"),
            result: string(last, "/self_test_result/string"),
            has_passed: code.map(|code| code == 0),
            at_hours: last["power_on_hours"].as_u64(),
        })
    }

    fn scsi_self_test(&self) -> Option<SelfTest> {
        let last = self.0.pointer("/scsi_self_test_0")?;
        let code = last.pointer("/result/value").and_then(Value::as_u64);
        let is_running = code == Some(15);
        let remaining = self.number("/self_test_in_progress/remaining_percent");
        Some(SelfTest {
            remaining_percent: is_running.then(|| {
                remaining
                    .and_then(|percent| u8::try_from(percent).ok())
                    .unwrap_or(100)
            }),
            kind: string(last, "/code/string"),
            result: string(last, "/result/string").filter(|_| !is_running),
            has_passed: code.filter(|_| !is_running).map(|code| code == 0),
            at_hours: last.pointer("/power_on_time/hours").and_then(Value::as_u64),
        })
    }
}

fn string(of: &Value, at: &str) -> Option<String> {
    let text = of.pointer(at)?.as_str()?;
    Some(printable(text.to_owned()))
}

/// What drives say goes to terminals.
fn printable(mut text: String) -> String {
    text.retain(|character| !character.is_control());
    text
}
