//! System calls, by seccomp: lists of what is allowed. Everything else ends with EPERM, or with whoever made
//! it, as the configuration says.
//!
//! * The daemon's list is for all threads and for the programs that it runs (`blkid`, `systemctl`). What it
//!   lacks is what makes a root process dangerous: mounts, modules, other processes, namespaces, keys, the
//!   clock, the kernel's own image.
//! * A worker takes bytes from the network, and its list has only what a turn needs: no file is opened, no
//!   program is run, no socket to a network is made by it.

use super::Sandbox;
use anyhow::Context;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

/// What every thread needs to be one: memory, locks, signals, time, its end.
const THREAD: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
];

/// Rings, sockets and eventfds that are open already; maps of the XDP program.
const DATA: &[i64] = &[
    libc::SYS_bpf,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_getsockopt,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_ioctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Files, also those of the programs that are run.
const FILES: &[i64] = &[
    libc::SYS_access,
    libc::SYS_chdir,
    libc::SYS_chmod,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fgetxattr,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_link,
    libc::SYS_lseek,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rmdir,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_stat,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlink,
    libc::SYS_sync_file_range,
    libc::SYS_umask,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// Sockets, queues and waiting.
const SOCKETS: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_io_uring_setup,
    libc::SYS_listen,
    libc::SYS_memfd_create,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_pselect6,
    libc::SYS_recvmmsg,
    libc::SYS_select,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    libc::SYS_signalfd4,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];

/// Threads, programs, and what they ask of themselves.
const PROCESSES: &[i64] = &[
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_get_mempolicy,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpgrp,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_kill,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_munlock,
    libc::SYS_msync,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    // A worker's thread narrows its own list.
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setrlimit,
    libc::SYS_setsid,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_vfork,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Restricts this thread, and those and the programs that it starts.
pub(super) fn confine_daemon(sandbox: Sandbox) -> anyhow::Result<()> {
    let filter = compile(sandbox, &[THREAD, DATA, FILES, SOCKETS, PROCESSES], None)?;
    seccompiler::apply_filter(&filter).context("seccomp")
}

/// Restricts this thread to what a worker does.
pub(super) fn confine_worker(sandbox: Sandbox) -> anyhow::Result<()> {
    // Interfaces are asked for their MTU and link through one of these.
    let unix = u64::try_from(libc::AF_UNIX)?;
    let family = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, unix)?;
    let socket = (libc::SYS_socket, SeccompRule::new(vec![family])?);
    let filter = compile(sandbox, &[THREAD, DATA], Some(socket))?;
    seccompiler::apply_filter(&filter).context("seccomp")
}

fn compile(
    sandbox: Sandbox,
    lists: &[&[i64]],
    conditional: Option<(i64, SeccompRule)>,
) -> anyhow::Result<BpfProgram> {
    let calls = lists.iter().copied().flatten();
    let mut rules: BTreeMap<_, _> = calls.map(|call| (*call, Vec::new())).collect();
    rules.extend(conditional.map(|(call, rule)| (call, vec![rule])));
    let denied = match sandbox {
        Sandbox::Off | Sandbox::Refuse => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        Sandbox::Kill => SeccompAction::KillProcess,
    };
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{blocks, have_asked};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    /// Names the list that a process of [`ended`] is under, and what becomes of it.
    const LIST: &str = "LEDGED_TEST_LIST";

    /// How a test ends in a process of its own, which this tells to be under a list.
    fn ended(test: &str, list: &str) -> ExitStatus {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own);
        let name = format!("sandbox::calls::tests::{test}");
        let output = command.args(["--exact", &name]).env(LIST, list).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test"), "{said}");
        output.status
    }

    /// Does, under a list, what is not on it.
    fn confined(list: &str) {
        let (who, how) = list.split_once(' ').unwrap();
        let sandbox = match how {
            "kill" => Sandbox::Kill,
            _ => Sandbox::Refuse,
        };
        let denied = if who == "worker" {
            confine_worker(sandbox).unwrap();
            // Which the daemon may.
            std::fs::metadata("/").map(drop)
        } else {
            confine_daemon(sandbox).unwrap();
            std::fs::metadata("/").unwrap();
            rustix::process::chroot("/").map_err(Into::into)
        };
        let error = denied.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn what_is_not_on_a_list_is_an_error_or_the_end() {
        if let Ok(list) = std::env::var(LIST) {
            return confined(&list);
        }
        let ended = |list: &str| ended("what_is_not_on_a_list_is_an_error_or_the_end", list);
        for who in ["daemon", "worker"] {
            let refused = ended(&format!("{who} refuse"));
            assert!(refused.success(), "{who}: {refused}");
            let killed = ended(&format!("{who} kill"));
            assert_eq!(killed.signal(), Some(libc::SIGSYS), "{who}: {killed}");
        }
    }

    #[test]
    fn a_worker_gives_memory_back_without_a_file() {
        if std::env::var(LIST).is_ok() {
            have_asked().unwrap();
            confine_worker(Sandbox::Kill).unwrap();
            return drop(blocks());
        }
        let ended = ended("a_worker_gives_memory_back_without_a_file", "worker kill");
        assert!(ended.success(), "{ended}");
    }
}
