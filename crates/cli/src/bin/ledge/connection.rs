//! The connection to the daemon.

use anyhow::{Context, bail};
use console::protocol::{self, Greeting, Prompt, PromptKind, Request, Response};
use std::io::{BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An open control connection, and what the daemon waits for.
pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    prompt: Prompt,
}

impl Connection {
    /// Connects and takes the greeting.
    ///
    /// # Errors
    /// Nobody listens there, or it is no daemon of this protocol.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let writer = UnixStream::connect(path).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "may you use this socket?",
                _ => "is it running?",
            };
            anyhow::anyhow!("cannot reach ledged at {}: {error}; {hint}", path.display())
        })?;
        let mut reader = BufReader::new(writer.try_clone().context("cannot use the socket")?);
        let greeting: Option<Greeting> = protocol::read(&mut reader)
            .with_context(|| format!("no ledged answers at {}", path.display()))?;
        let Some(greeting) = greeting else {
            bail!("ledged at {} closed the connection at once", path.display());
        };
        if greeting.protocol != protocol::VERSION {
            bail!(
                "ledged {} speaks version {} of the control protocol, this ledge version {}: \
                 install both from one release",
                greeting.version,
                greeting.protocol,
                protocol::VERSION
            );
        }
        if greeting.prompt.kind == PromptKind::End {
            bail!("{}", greeting.prompt.text);
        }
        Ok(Self {
            reader,
            writer,
            prompt: greeting.prompt,
        })
    }

    /// What the daemon waits for.
    pub(crate) fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// The request is too long, or the connection failed.
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<Response> {
        protocol::write(&mut self.writer, request).context("cannot send the command")?;
        let response: Option<Response> =
            protocol::read(&mut self.reader).context("cannot read the answer of ledged")?;
        let Some(response) = response else {
            bail!(
                "ledged closed the connection before it answered; \
                 whether the command was done is not known"
            );
        };
        self.prompt = response.prompt.clone();
        Ok(response)
    }
}
