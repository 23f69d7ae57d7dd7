//! What the kernel calls what the probes have counted by numbers.

use crate::btf;
use std::fs;
use std::path::Path;

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The addresses of its functions.
const SYMBOLS: &str = "/proc/kallsyms";
/// How the names of drop reasons begin.
const REASON_PREFIX: &str = "SKB_DROP_REASON_";

/// Verdicts of XDP programs, by number (`enum xdp_action`).
const XDP_ACTIONS: [&str; 5] = [
    "XDP_ABORTED",
    "XDP_DROP",
    "XDP_PASS",
    "XDP_TX",
    "XDP_REDIRECT",
];

/// The names of this kernel: they differ from one to the next.
pub(crate) struct Names {
    reasons: Vec<(u32, String)>,
    /// Functions by address, in ascending order.
    functions: Vec<(u64, String)>,
}

impl Names {
    /// What cannot be read has no names: numbers are shown then.
    pub(crate) fn of_this_kernel() -> Self {
        let types = fs::read(BTF).unwrap_or_default();
        let symbols = fs::read_to_string(SYMBOLS).unwrap_or_default();
        Self {
            reasons: btf::enumeration(&types, "skb_drop_reason"),
            functions: functions(&symbols),
        }
    }

    pub(crate) fn drop_reason(&self, code: u32) -> String {
        let known = self.reasons.iter().find(|(value, _)| *value == code);
        known.map_or_else(
            || format!("reason {code:#x}"),
            |(_, name)| name.trim_start_matches(REASON_PREFIX).to_owned(),
        )
    }

    /// The function that an address lies in.
    pub(crate) fn function(&self, address: u64) -> Option<String> {
        let after = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        let (_, name) = self.functions.get(after.checked_sub(1)?)?;
        Some(name.clone())
    }
}

/// Address and name of each function in a list of symbols. Without the right to see them all are 0.
fn functions(symbols: &str) -> Vec<(u64, String)> {
    let mut found: Vec<_> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let is_function = address != 0 && kind.eq_ignore_ascii_case("t");
            is_function.then_some((address, words.next()?.to_owned()))
        })
        .collect();
    found.sort_unstable();
    found
}

pub(crate) fn xdp_action(code: u32) -> String {
    let known = XDP_ACTIONS.get(code as usize);
    known.map_or_else(|| format!("verdict {code}"), |name| (*name).to_owned())
}

/// An error of the kernel in words.
pub(crate) fn error(code: u32) -> String {
    let Ok(number) = i32::try_from(code) else {
        return format!("error {code}");
    };
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let words = text.split_once(" (os error");
    words.map_or(text.clone(), |(words, _)| words.to_owned())
}

/// The name of a drive, by the numbers of its device.
pub(crate) fn drive(major: u32, minor: u32) -> String {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link
        .ok()
        .and_then(|path| Some(Path::file_name(&path)?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| format!("{major}:{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_the_function_that_begins_before_it() {
        let symbols = "0000000000000200 t veth_xmit\n0000000000000100 T dev_open\n\
                       0000000000000180 d some_data\n0000000000000000 t hidden\n";
        let names = Names {
            reasons: vec![(80, "SKB_DROP_REASON_FULL_RING".to_owned())],
            functions: functions(symbols),
        };
        assert_eq!(names.function(0x205).as_deref(), Some("veth_xmit"));
        assert_eq!(names.function(0x1ff).as_deref(), Some("dev_open"));
        assert_eq!(names.function(0xff), None);
        assert_eq!(names.drop_reason(80), "FULL_RING");
        assert_eq!(names.drop_reason(81), "reason 0x51");
    }

    #[test]
    fn errors_are_told_in_words() {
        assert_eq!(error(28), "No space left on device");
        assert_eq!(error(u32::MAX), "error 4294967295");
    }

    #[test]
    fn verdicts_have_names() {
        assert_eq!(xdp_action(0), "XDP_ABORTED");
        assert_eq!(xdp_action(9), "verdict 9");
    }
}
