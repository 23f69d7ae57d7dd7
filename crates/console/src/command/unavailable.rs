//! Commands of the Coraid language that this version does not have.
//!
//! They are named so that an administrator is told the truth instead of `unknown command`: why there is none,
//! and what to do instead.

/// Their names, each with the reason and the way out, which follows a colon.
pub const NOT_AVAILABLE: &[(&str, &str)] = &[
    // Drives.
    (
        "secureerase",
        "not in this version; erase makes a drive read as zeroes; to have it forget beyond that, on the box, for one \
         that show names as free: hdparm --security-erase, or nvme format DEVICE",
    ),
    // LUNs.
    (
        "resetserial",
        "hosts know the disk by its serial number, and with another one it is another disk to them: mounts by id and \
         multipath would lose it, in use or not; lunserial tells it; a new LUN has a new one: make",
    ),
    // System, network, log.
    ("cmenable", NO_CACHE_CARD),
    ("cmdisable", NO_CACHE_CARD),
    ("cmstat", NO_CACHE_CARD),
    ("cmlist", NO_CACHE_CARD),
    ("cmlunid", NO_CACHE_CARD),
    ("cmcheck", NO_CACHE_CARD),
    ("fcadd", NO_FLASH_CACHE),
    ("fcremove", NO_FLASH_CACHE),
    ("fclun", NO_FLASH_CACHE),
    ("ipaddress", NETWORK),
    ("ipgateway", NETWORK),
    (
        "service",
        "the services of the box are those of its system: systemctl there; time servers: ntp",
    ),
    (
        "sigcheck",
        "there is no signed flash in this box: the packages of its system are verified when they are installed",
    ),
];

const NO_CACHE_CARD: &str = "there is no CacheMotion card in this shelf, and no need for one: a write is acknowledged \
                             when it is on the drives";

const NO_FLASH_CACHE: &str =
    "this shelf has no flash cache; a LUN of its own on the SSDs is as fast as they are";

const NETWORK: &str = "AoE has no IP addresses, and those of the box are its system's: ip address, ip route, and \
                       the configuration of its network";

/// Why there is no such command, and what to do instead.
pub(super) fn reason(name: &str) -> Option<(&'static str, &'static str)> {
    let mut all = NOT_AVAILABLE.iter();
    all.find(|(known, _)| *known == name).copied()
}

#[cfg(test)]
mod tests {
    use super::NOT_AVAILABLE;

    #[test]
    fn each_has_a_reason_and_a_way_out() {
        for (name, reason) in NOT_AVAILABLE {
            assert!(!reason.ends_with('.') && reason.len() > 20, "{name}");
            // A reason, then what to do, or why nothing is to be done.
            assert!(reason.contains([';', ':']), "{name}: {reason}");
        }
    }
}
