//! The image that the machine was started from, and its updates. Both are the business of a program of
//! the image, which this asks over a socket: the daemon itself may not write to the boot disk.
//!
//! A request is one line, `status`, `check FILE`, `write FILE`, `check-back` or `back`; the answer is text
//! whose last line begins with `ok: ` or `error: `.
//!
//! **Invariant**: nobody waits for the program under the lock of the administration: a thread does.

use crate::threads::spawn;
use console::host::{HostError, ImageVersions, Trouble, UpdateId, UpdateState, UpdateTo};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the image's program listens.
const SOCKET: &str = "/run/ledge-update.sock";

/// What the image found wrong when the machine started, a line each: subject, problem, advice, separated by
/// tabs.
const TROUBLES: &str = "/run/ledge-image/troubles";

/// How often it is looked whether a version on trial is kept: what starts next may be another one then.
const TRIAL_LOOK: Duration = Duration::from_secs(10);

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What is known of the image.
#[derive(Clone)]
pub(crate) struct Image {
    socket: PathBuf,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    versions: Result<ImageVersions, HostError>,
    /// The update that was begun last, and what has come of it.
    last: UpdateId,
    update: UpdateState,
    is_updating: bool,
}

impl Image {
    /// Asks, in the background, which versions there are, if the machine was started from the image.
    pub(crate) fn open() -> Self {
        Self::at(Path::new(SOCKET), TRIAL_LOOK)
    }

    fn at(socket: &Path, trial_look: Duration) -> Self {
        let text = "this machine was not started from the image of Ledge: update its packages, and restart ledged: \
                    the I/O of hosts waits for it";
        let none = HostError::Refused(text.to_owned());
        let image = Self {
            socket: socket.to_owned(),
            shared: Arc::new(Mutex::new(Shared {
                versions: Err(none.clone()),
                last: UpdateId::default(),
                update: UpdateState::Failed(none),
                is_updating: false,
            })),
        };
        if socket.exists() {
            let asking = image.clone();
            let started = spawn("image", move || {
                while asking.look() {
                    std::thread::sleep(trial_look);
                }
            });
            if let Err(error) = started {
                image.shared().versions = Err(HostError::Io(format!("{error:#}")));
            }
        }
        image
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions that there are.
    pub(crate) fn versions(&self) -> Result<ImageVersions, HostError> {
        self.shared().versions.clone()
    }

    /// What has come of an update.
    pub(crate) fn update_state(&self, update: UpdateId) -> UpdateState {
        let shared = self.shared();
        if update == shared.last {
            return shared.update.clone();
        }
        let text = "another update was begun since; the log has the end of this one";
        UpdateState::Failed(HostError::Refused(text.to_owned()))
    }

    /// Whether an update would be begun.
    pub(crate) fn check(&self, to: UpdateTo<'_>) -> Result<(), HostError> {
        self.shared().check(to)
    }

    /// Begins to verify what is to run after a reboot, and to see to it if it is not only a plan.
    pub(crate) fn begin(&self, to: UpdateTo<'_>, is_plan: bool) -> Result<UpdateId, HostError> {
        let mut shared = self.shared();
        shared.check(to)?;
        let request = match (to, is_plan) {
            (UpdateTo::File(file), true) => format!("check {file}\n"),
            (UpdateTo::File(file), false) => format!("write {file}\n"),
            (UpdateTo::Other, true) => "check-back\n".to_owned(),
            (UpdateTo::Other, false) => "back\n".to_owned(),
        };
        let asking = self.clone();
        spawn("update", move || asking.update(&request))
            .map_err(|error| HostError::Io(format!("{error:#}")))?;
        shared.is_updating = true;
        shared.update = UpdateState::Running;
        shared.last.0 += 1;
        Ok(shared.last)
    }

    fn update(&self, request: &str) {
        tracing::info!("update: {}", request.trim_end());
        let state = match self.ask(request).map(|answer| verdict(&answer)) {
            Ok(Ok(said)) => UpdateState::Done(said),
            Ok(Err(error)) | Err(error) => UpdateState::Failed(error),
        };
        match &state {
            UpdateState::Failed(error) => tracing::error!("update: {error}"),
            UpdateState::Done(said) => tracing::info!("update: {said}"),
            UpdateState::Running => {}
        }
        self.look();
        let mut shared = self.shared();
        shared.update = state;
        shared.is_updating = false;
    }

    /// Asks which versions there are. Whether the one that runs is on trial.
    fn look(&self) -> bool {
        let answer = self.ask("status\n");
        let is_on_trial =
            matches!(&answer, Ok(told) if told.lines().any(|line| line.starts_with("trial ")));
        let versions = answer.and_then(|answer| versions(&answer));
        if let Err(error) = &versions {
            tracing::error!("image: {error}");
        }
        self.shared().versions = versions;
        is_on_trial
    }

    fn ask(&self, request: &str) -> Result<String, HostError> {
        let ask = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(|error: std::io::Error| {
            HostError::Io(format!("{}: {error}", self.socket.display()))
        })
    }
}

/// What the image found wrong when the machine started; nothing on a machine without the image.
pub(crate) fn troubles_of_start() -> Vec<Trouble> {
    read_troubles(Path::new(TROUBLES))
}

fn read_troubles(path: &Path) -> Vec<Trouble> {
    let trouble = |subject: &str, problem: &str, advice: &str| Trouble {
        subject: subject.to_owned(),
        problem: problem.to_owned(),
        advice: advice.to_owned(),
    };
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            let problem = format!("what was wrong at the start cannot be read: {error}");
            return vec![trouble(&path.display().to_string(), &problem, "restart")];
        }
    };
    let read = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let mut next = || fields.next().unwrap_or_default();
        trouble(next(), next(), next())
    };
    text.lines().map(read).collect()
}

impl Shared {
    fn check(&self, to: UpdateTo<'_>) -> Result<(), HostError> {
        self.versions.clone()?;
        if let UpdateTo::File(file) = to
            && (file.is_empty() || file.chars().any(char::is_control))
        {
            return Err(HostError::Refused(format!("{file:?} is no name of a file")));
        }
        if self.is_updating {
            let text = "an update is under way: wait for its end";
            return Err(HostError::Refused(text.to_owned()));
        }
        Ok(())
    }
}

/// What an answer says in its last line.
fn verdict(answer: &str) -> Result<String, HostError> {
    let last = answer.lines().last().unwrap_or_default();
    match (last.strip_prefix("ok: "), last.strip_prefix("error: ")) {
        (Some(said), _) => Ok(said.to_owned()),
        (None, Some(reason)) => Err(HostError::Refused(reason.to_owned())),
        (None, None) => {
            let text = "the program of the image ended without an answer; its journal tells why";
            Err(HostError::Io(text.to_owned()))
        }
    }
}

/// Reads lines `running VERSION`, `other VERSION`, `next VERSION`, `failed VERSION`.
fn versions(answer: &str) -> Result<ImageVersions, HostError> {
    verdict(answer)?;
    let of = |name: &str| {
        let lines = answer.lines().filter_map(|line| line.split_once(' '));
        let found = lines.filter(|(known, _)| *known == name);
        let versions: Vec<String> = found.map(|(_, version)| version.to_owned()).collect();
        versions
    };
    let first = |name: &str| of(name).into_iter().next().unwrap_or_default();
    Ok(ImageVersions {
        running: first("running"),
        other: of("other").into_iter().next(),
        next: first("next"),
        failed: of("failed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    /// A program of the image that knows version 1.2, and signs nothing but `good`.
    fn program(directory: &Path) -> PathBuf {
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let mut next = "1.2";
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let answer = match line.as_str() {
                    "status\n" => {
                        format!(
                            "running 1.2\nother 1.3\nnext {next}\nfailed 1.1\nok: version 1.2 runs\n"
                        )
                    }
                    "check good\n" => "ok: would\n".to_owned(),
                    "write good\n" => {
                        next = "1.3";
                        "version 1.3\nok: done\n".to_owned()
                    }
                    "check-back\n" => "ok: would\n".to_owned(),
                    "back\n" => {
                        next = "1.3";
                        "ok: done\n".to_owned()
                    }
                    "write silent\n" => "version 1.3\n".to_owned(),
                    _ => "error: not signed\n".to_owned(),
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        path
    }

    fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "it does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Begins an update and waits for its end.
    fn update(image: &Image, to: UpdateTo<'_>, is_plan: bool) -> UpdateState {
        let id = image.begin(to, is_plan).unwrap();
        wait(|| {
            let is_updating = image.shared().is_updating;
            (!is_updating).then(|| image.update_state(id))
        })
    }

    #[test]
    fn a_machine_without_the_image_says_so() {
        let image = Image::at(Path::new("/nowhere/socket"), TRIAL_LOOK);
        let error = image
            .begin(UpdateTo::File("good"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not started from the image"), "{error}");
        assert!(image.versions().is_err());
    }

    #[test]
    fn what_was_wrong_at_the_start_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("troubles");
        assert_eq!(read_troubles(&path), []);
        std::fs::write(
            &path,
            "state\tit is damaged\trepair it\nconfiguration\told\n",
        )
        .unwrap();
        let said = read_troubles(&path);
        let of = |at: usize| {
            let Trouble {
                subject,
                problem,
                advice,
            } = &said[at];
            [subject.as_str(), problem.as_str(), advice.as_str()]
        };
        assert_eq!(of(0), ["state", "it is damaged", "repair it"]);
        assert_eq!(of(1), ["configuration", "old", ""]);
        assert_eq!(said.len(), 2);
        // It is there and cannot be read.
        assert_eq!(read_troubles(directory.path()).len(), 1);
    }

    /// In its last try another version would start next; as soon as it is kept, itself, without anybody
    /// asking.
    #[test]
    fn a_version_on_trial_is_looked_at_until_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let on_trial = "running 1.2\nother 1.3\nnext 1.3\ntrial 1.2\nok: version 1.2 runs\n";
            let kept = "running 1.2\nother 1.3\nnext 1.2\nok: version 1.2 runs\n";
            for (answer, stream) in [on_trial, on_trial, kept].iter().zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let image = Image::at(&path, Duration::from_millis(5));
        wait(|| {
            image
                .versions()
                .ok()
                .filter(|versions| versions.next == "1.2")
        });
    }

    #[test]
    fn the_way_back_is_asked_for_in_words_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::at(&program(directory.path()), TRIAL_LOOK);
        wait(|| image.versions().ok());
        let would = UpdateState::Done("would".to_owned());
        assert_eq!(update(&image, UpdateTo::Other, true), would);
        assert_eq!(image.versions().unwrap().next, "1.2");
        let done = UpdateState::Done("done".to_owned());
        assert_eq!(update(&image, UpdateTo::Other, false), done);
        assert_eq!(image.versions().unwrap().next, "1.3");
    }

    #[test]
    fn an_update_ends_as_the_program_says() {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::at(&program(directory.path()), TRIAL_LOOK);
        let versions = wait(|| image.versions().ok());
        assert_eq!(
            (versions.running.as_str(), versions.next.as_str()),
            ("1.2", "1.2")
        );
        assert_eq!(versions.failed, ["1.1"]);
        assert_eq!(versions.other.as_deref(), Some("1.3"));

        let would = UpdateState::Done("would".to_owned());
        assert_eq!(update(&image, UpdateTo::File("good"), true), would);
        assert_eq!(image.versions().unwrap().next, "1.2");
        let first = image.shared().last;
        let done = UpdateState::Done("done".to_owned());
        assert_eq!(update(&image, UpdateTo::File("good"), false), done);
        assert_eq!(image.versions().unwrap().next, "1.3");
        // Nobody is told the end of somebody else's.
        let UpdateState::Failed(error) = image.update_state(first) else {
            panic!("the first one is another one");
        };
        assert!(error.to_string().contains("another update"), "{error}");

        let refused = UpdateState::Failed(HostError::Refused("not signed".to_owned()));
        assert_eq!(update(&image, UpdateTo::File("bad"), false), refused);
        let silent = update(&image, UpdateTo::File("silent"), false);
        assert!(matches!(silent, UpdateState::Failed(HostError::Io(_))));
        // A second line would be a second request.
        assert!(image.begin(UpdateTo::File("a\nb"), false).is_err());
    }
}
