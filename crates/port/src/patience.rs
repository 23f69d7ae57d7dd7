//! Trying again while the kernel cleans up behind a process that has just ended.

use std::io;
use std::thread::sleep;
use std::time::Duration;

/// How often to try. A queue stays busy for some 25 ms after its AF_XDP socket was closed, and a
/// killed process closes its files only when it is next scheduled. All attempts together take a
/// second, so that a restart right after `kill -9` succeeds on a loaded machine as well.
const ATTEMPTS: u32 = 50;

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs `attempt` until it gives anything but EBUSY, or has been given its chances.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep(PAUSE),
            result => return result,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_answer_is_tried_again() {
        let mut answers = [libc::EBUSY, libc::EBUSY, libc::EINVAL, 0].into_iter();
        let result = patiently(|| match answers.next() {
            Some(0) | None => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(answers.next(), Some(0));
    }

    #[test]
    fn patience_ends() {
        let mut attempts = 0;
        let result: io::Result<()> = patiently(|| {
            attempts += 1;
            Err(io::Error::from_raw_os_error(libc::EBUSY))
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert_eq!(attempts, ATTEMPTS);
    }
}
