//! Logs go to standard error or to a file, so that standard output has only what scripts wait for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::{
    EnvFilter, fmt,
    fmt::writer::{BoxMakeWriter, MakeWriter},
    util::SubscriberInitExt,
};

use crate::{
    cli::{Log, LogFormat},
    failure::Failure,
};

/// Starts logging for the whole program.
pub(crate) fn start(log: &Log, from_environment: Option<String>) -> Result<(), Failure> {
    let filter = log.log.clone().or(from_environment).unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::config(format!(
            "--log {filter}: {error}. Write a level (error, warn, info, debug, trace), or parts such as info,net=debug"
        ))
    })?;
    let (writer, colours) = match &log.log_file {
        None => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        Some(path) => {
            let file = LogFile::open(path).map_err(|error| {
                Failure::start(format!("--log-file {}: cannot be opened: {error}", path.display()))
            })?;
            (BoxMakeWriter::new(file), false)
        }
    };
    let lines = fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let started = match log.log_format {
        LogFormat::Text => lines.with_ansi(colours).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| Failure::start(format!("logging cannot be started: {error}")))
}

/// A file that lines are appended to. Programs that roll logs move it away: then it is made anew.
struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    looked: Instant,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let open = Open { file: append_to(path)?, looked: Instant::now() };
        Ok(Self { path: path.to_owned(), open: Mutex::new(open) })
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line on its way into the file; it is written whole.
struct Line<'a>(&'a LogFile);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.looked.elapsed() >= LOOK {
            open.looked = Instant::now();
            if !names(&self.0.path, &open.file) {
                open.file = append_to(&self.0.path)?;
            }
        }
        open.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Whether the path still stands for the open file.
fn names(path: &Path, file: &File) -> bool {
    let same = |at: fs::Metadata, open: fs::Metadata| (at.dev(), at.ino()) == (open.dev(), open.ino());
    fs::metadata(path).is_ok_and(|at| file.metadata().is_ok_and(|open| same(at, open)))
}

/// How often it is looked whether the file was moved away.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_that_is_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("broker.log"), dir.path().join("broker.log.1"));
        fs::write(&path, "before\n").unwrap();
        let log = LogFile::open(&path).unwrap();
        log.make_writer().write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        log.open.lock().unwrap().looked -= LOOK;
        log.make_writer().write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "before\none\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
