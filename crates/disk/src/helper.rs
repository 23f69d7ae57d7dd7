//! A thread that does what may hang, and whoever waits for it only until a deadline.
//!
//! Invariants:
//! * requests are done one after the other, in their order;
//! * after one that was not waited for to its end nothing is taken before that end has come.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// Not in time.
    #[error("it did not answer within {} s", .0.as_secs_f32())]
    Late(Duration),
    /// An earlier one was not.
    #[error("it has not answered what it was asked {} s ago", .0.as_secs())]
    Busy(Duration),
    /// There is no thread for it.
    #[error("there is no thread for its metadata: {0}")]
    NoThread(String),
}

impl HelperError {
    /// Whether the answer may still come.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Busy(_))
    }
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Helper<Request, Answer> {
    /// Always there but while it is dropped.
    requests: Option<Sender<Request>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// When a request was made whose answer was not waited for.
    owes_since: Option<Instant>,
}

impl<Request: Send + 'static, Answer: Send + 'static> Helper<Request, Answer> {
    /// Starts a thread. It ends with the helper, and with what it is doing then.
    pub(crate) fn new(
        name: &str,
        mut work: impl FnMut(Request) -> Answer + Send + 'static,
    ) -> Result<Self, HelperError> {
        let (requests, receiver) = channel();
        let (sender, answers) = channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Ok(request) = receiver.recv() {
                    if sender.send(work(request)).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| HelperError::NoThread(error.to_string()))?;
        Ok(Self {
            requests: Some(requests),
            answers,
            thread: Some(thread),
            owes_since: None,
        })
    }

    /// Has it do something, and waits so long.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        deadline: Duration,
    ) -> Result<Answer, HelperError> {
        let ended = || HelperError::NoThread("it has ended".to_owned());
        if let Some(since) = self.owes_since {
            match self.answers.try_recv() {
                Ok(_) => self.owes_since = None,
                Err(TryRecvError::Empty) => return Err(HelperError::Busy(since.elapsed())),
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        let since = Instant::now();
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(request).map_err(|_| ended())?;
        match self.answers.recv_timeout(deadline) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                self.owes_since = Some(since);
                Err(HelperError::Late(deadline))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl<Request, Answer> Drop for Helper<Request, Answer> {
    /// Waits for the thread, so that what it holds is free; but not for one that hangs.
    fn drop(&mut self) {
        self.requests = None;
        if self.owes_since.is_none()
            && let Some(thread) = self.thread.take()
        {
            // It ends without a panic, or has told of it on its own.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_waited_for_once_and_nothing_overtakes_it() {
        let (go_on, gate) = channel::<()>();
        let (tell, done) = channel();
        let work = move |request: u32| {
            if request == 1 {
                gate.recv().unwrap();
            }
            tell.send(request).unwrap();
            request * 10
        };
        let mut helper = Helper::new("test", work).unwrap();
        let long = Duration::from_secs(60);
        assert_eq!(helper.ask(7, long).unwrap(), 70);
        let late = helper.ask(1, Duration::from_millis(1)).unwrap_err();
        assert!(matches!(late, HelperError::Late(_)));
        assert_eq!(late.to_string(), "it did not answer within 0.001 s");
        for request in [2, 3] {
            let busy = helper.ask(request, long).unwrap_err();
            assert!(busy.is_silence() && matches!(busy, HelperError::Busy(_)));
        }
        go_on.send(()).unwrap();
        let answer = loop {
            if let Ok(answer) = helper.ask(4, long) {
                break answer;
            }
            thread::yield_now();
        };
        assert_eq!(answer, 40);
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [7, 1, 4]);
    }
}
