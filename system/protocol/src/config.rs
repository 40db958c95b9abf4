//! Configuration: tables of keys, Java's properties files, and the requests that read and change it at run time.
//!
//! A program's settings are one or more tables made with [`config!`](crate::config!). Reading is strict: a key in no
//! table and a value that does not fit are errors that name file, line and the nearest key. Java ignores both, which
//! is how a trailing blank silently leaves a setting at its default.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::text::Text;

mod properties;

pub use properties::{Entry, escape, read as read_properties};

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in files and on the wire.
    pub name: &'static str,
    /// What it sets, in one sentence.
    pub meaning: &'static str,
    /// What else is true of it.
    pub flags: &'static [Flag],
}

/// What can be true of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// May be changed while the program runs.
    Live,
    /// Among the few that are printed first.
    Important,
}

impl Key {
    /// Whether it may be changed while the program runs.
    pub fn is_live(&self) -> bool {
        self.flags.contains(&Flag::Live)
    }

    /// Whether it is among the few that are printed first.
    pub fn is_important(&self) -> bool {
        self.flags.contains(&Flag::Important)
    }
}

/// A struct of settings; made with [`config!`](crate::config!).
pub trait Table: Send + Sync {
    /// The keys, in the order of the table.
    fn keys(&self) -> &'static [Key];
    /// Whether `value` fits the key; `Err` says what is expected.
    fn check(&self, key: &str, value: &str) -> Result<(), String>;
    /// Sets a key of this table; `Err` says what is expected.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String>;
    /// The value of a key of this table as it is written.
    fn value(&self, key: &str) -> Option<String>;
    /// Its default as it is written.
    fn default_value(&self, key: &str) -> Option<String>;
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// Reads it; `Err` says what is expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes it so that reading gives it back.
    fn print(&self) -> String;
}

/// Makes a struct of settings: wire key, field, type, default, one sentence, and flags.
///
/// ```
/// protocol::config! {
///     /// Settings of an example.
///     pub struct Config {
///         "listenPort"  listen_port:   u16 = 9876,  "The port that clients connect to.", Important;
///         "flushPeriod" flush_period:  u64 = 500,   "Milliseconds between two flushes.", Live;
///     }
/// }
/// let mut config = Config::default();
/// protocol::config::apply(&mut [&mut config], &protocol::config::Source::strict("x.conf"), b"listenPort = 1").unwrap();
/// assert_eq!(config.listen_port, 1);
/// ```
#[macro_export]
macro_rules! config {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($key:literal $field:ident : $ty:ty = $default:expr, $meaning:literal $(, $flag:ident)*;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name { $(#[doc = $meaning] #[doc = concat!("`", $key, "` in files.")] pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $crate::config::Table for $name {
            fn keys(&self) -> &'static [$crate::config::Key] {
                const KEYS: &[$crate::config::Key] = &[$($crate::config::Key {
                    name: $key,
                    meaning: $meaning,
                    flags: &[$($crate::config::Flag::$flag),*],
                }),*];
                KEYS
            }
            fn check(&self, key: &str, value: &str) -> Result<(), String> {
                match key {
                    $($key => <$ty as $crate::config::Setting>::parse(value).map(|_| ()),)*
                    _ => Err("a key of this table".to_owned()),
                }
            }
            fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
                match key {
                    $($key => self.$field = <$ty as $crate::config::Setting>::parse(value)?,)*
                    _ => return Err("a key of this table".to_owned()),
                }
                Ok(())
            }
            fn value(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some($crate::config::Setting::print(&self.$field)),)*
                    _ => None,
                }
            }
            fn default_value(&self, key: &str) -> Option<String> {
                Self::default().value(key)
            }
        }
    };
}

/// Where settings come from and how strictly they are read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What errors call it: a file, or the peer that sent it.
    pub name: &'a str,
    /// Whether what is wrong is an error, or only warned of.
    pub strict: bool,
    /// Keys that exist but have no effect here; they are warned of, never an error.
    pub without_effect: &'a [&'a str],
}

impl<'a> Source<'a> {
    /// A source in which everything must be right.
    pub fn strict(name: &'a str) -> Self {
        Self { name, strict: true, without_effect: &[] }
    }

    /// A source of which only what is right is taken.
    pub fn lenient(name: &'a str) -> Self {
        Self { strict: false, ..Self::strict(name) }
    }
}

/// One thing that is wrong in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, or what else the source is called.
    pub source: String,
    /// The line, from 1.
    pub line: usize,
    /// The key, as it stands there.
    pub key: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What can be wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is in no table.
    Unknown {
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// Its value does not fit.
    Malformed {
        /// The value.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// It exists, but does nothing here.
    WithoutEffect,
    /// It cannot change while the program runs.
    NotLive,
    /// The line is not in the format of properties.
    BadLine(&'static str),
}

/// Everything that is wrong in a source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: &'static str,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// Sets what a properties file says. All that is wrong comes back: as an error if the source is read strictly (keys
/// without effect excepted), as warnings otherwise.
pub fn apply(
    tables: &mut [&mut dyn Table],
    source: &Source<'_>,
    properties: &[u8],
) -> Result<Vec<Problem>, Problems> {
    let mut problems = Vec::new();
    for entry in read_properties(properties) {
        let kind = match &entry {
            Entry { bad: Some(why), .. } => Some(ProblemKind::BadLine(why)),
            Entry { key, value, .. } => set(tables, source, key, value),
        };
        if let Some(kind) = kind {
            problems.push(Problem { source: source.name.to_owned(), line: entry.line, key: entry.key, kind });
        }
    }
    let fatal = problems.iter().any(|problem| problem.kind != ProblemKind::WithoutEffect);
    if source.strict && fatal { Err(Problems(problems)) } else { Ok(problems) }
}

/// Changes settings of a running program: all of them, or none if one is wrong, unknown or cannot be changed now.
pub fn update(
    tables: &mut [&mut dyn Table],
    source: &Source<'_>,
    properties: &[u8],
) -> Result<Vec<Change>, Problems> {
    let mut problems = Vec::new();
    let mut changes: BTreeMap<&'static str, Change> = BTreeMap::new();
    for entry in read_properties(properties) {
        match change(tables, &entry) {
            Ok(Some(change)) => {
                changes.insert(change.key, change);
            }
            Ok(None) => {}
            Err(kind) => {
                let Entry { line, key, .. } = entry;
                problems.push(Problem { source: source.name.to_owned(), line, key, kind });
            }
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    for change in changes.values() {
        for table in &mut *tables {
            if table.keys().iter().any(|key| key.name == change.key) {
                table.set(change.key, &change.to).expect("it was checked above");
            }
        }
    }
    Ok(changes.into_values().collect())
}

/// All settings, sorted by key, in a form that reads back.
pub fn print(tables: &[&dyn Table]) -> String {
    print_those(tables, |_| true)
}

/// The settings for which `wanted` is true, sorted by key, in a form that reads back.
pub fn print_those(tables: &[&dyn Table], wanted: impl Fn(&Key) -> bool) -> String {
    let mut lines = BTreeMap::new();
    for table in tables {
        for key in table.keys().iter().filter(|key| wanted(key)) {
            let value = table.value(key.name).unwrap_or_default();
            lines.insert(key.name, format!("{}={}\n", key.name, escape(&value)));
        }
    }
    lines.into_values().collect()
}

fn set(tables: &mut [&mut dyn Table], source: &Source<'_>, key: &str, value: &str) -> Option<ProblemKind> {
    let mut known = false;
    for table in &mut *tables {
        if table.keys().iter().any(|k| k.name == key) {
            known = true;
            if let Err(expected) = table.set(key, value) {
                return Some(ProblemKind::Malformed { value: value.to_owned(), expected });
            }
        }
    }
    if known {
        None
    } else if source.without_effect.contains(&key) {
        Some(ProblemKind::WithoutEffect)
    } else {
        Some(ProblemKind::Unknown { nearest: nearest(tables, key) })
    }
}

fn change(tables: &[&mut dyn Table], entry: &Entry) -> Result<Option<Change>, ProblemKind> {
    if let Some(why) = entry.bad {
        return Err(ProblemKind::BadLine(why));
    }
    for table in tables {
        let Some(key) = table.keys().iter().find(|key| key.name == entry.key) else { continue };
        let from = table.value(key.name).unwrap_or_default();
        if from == entry.value.trim() {
            return Ok(None);
        }
        if !key.is_live() {
            return Err(ProblemKind::NotLive);
        }
        let value = entry.value.clone();
        return match table.check(key.name, &value) {
            Ok(()) => Ok(Some(Change { key: key.name, from, to: value })),
            Err(expected) => Err(ProblemKind::Malformed { value, expected }),
        };
    }
    Err(ProblemKind::Unknown { nearest: nearest(tables, &entry.key) })
}

/// The key that looks most like `key`, if one does.
fn nearest(tables: &[&mut dyn Table], key: &str) -> Option<&'static str> {
    let likeness = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &key.to_lowercase());
    let names = tables.iter().flat_map(|table| table.keys()).map(|key| key.name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > LIKE).then_some(best)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, key, kind } = self;
        write!(f, "{source}:{line}: ")?;
        match kind {
            ProblemKind::Unknown { nearest: Some(nearest) } => {
                write!(f, "unknown key `{key}`, did you mean `{nearest}`?")
            }
            ProblemKind::Unknown { nearest: None } => write!(f, "unknown key `{key}`"),
            ProblemKind::Malformed { value, expected } => {
                write!(f, "`{key}` cannot be {value:?}: {expected} is expected")
            }
            ProblemKind::WithoutEffect => write!(f, "`{key}` has no effect here"),
            ProblemKind::NotLive => {
                write!(f, "`{key}` cannot change while the program runs; set it in the file and restart")
            }
            ProblemKind::BadLine(why) => write!(f, "{why} at `{key}`"),
        }
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Setting for $ty {
            fn parse(text: &str) -> Result<Self, String> {
                let range = || format!("a whole number from {} to {}", Self::MIN, Self::MAX);
                text.trim().parse().map_err(|_| range())
            }
            fn print(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers! { i32 i64 u16 u32 u64 usize }

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            yes if yes.eq_ignore_ascii_case("true") => Ok(true),
            no if no.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse::<Self>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("a number".to_owned()),
        }
    }
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

// Java keeps trailing blanks, and then looks for a host or a topic with a blank in its name.
impl Setting for Text {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().into())
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }
    fn print(&self) -> String {
        self.clone()
    }
}

/// Settings that are one of a few words; they are written in this spelling and read in any letter case.
#[macro_export]
macro_rules! config_words {
    ($($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$doc])* $variant),* }

        impl $crate::config::Setting for $name {
            fn parse(text: &str) -> Result<Self, String> {
                $(if text.trim().eq_ignore_ascii_case($word) { return Ok(Self::$variant); })*
                Err(concat!("one of" $(, " ", $word)*).to_owned())
            }
            fn print(&self) -> String {
                match self { $(Self::$variant => $word),* }.to_owned()
            }
        }
    )*};
}

config_words! {
    /// When an append counts as done.
    pub enum FlushDiskType {
        /// When it is in the page cache: survives the death of the process.
        AsyncFlush = "ASYNC_FLUSH",
        /// When it is on the disk: survives power loss.
        SyncFlush = "SYNC_FLUSH",
    }

    /// What a broker is among the brokers of its name.
    pub enum BrokerRole {
        /// Takes writes and does not wait for replicas.
        AsyncMaster = "ASYNC_MASTER",
        /// Takes writes and waits for replicas.
        SyncMaster = "SYNC_MASTER",
        /// Copies a master.
        Slave = "SLAVE",
    }
}

// Below this, what is nearest does not look alike.
const LIKE: f64 = 0.75;

#[cfg(test)]
mod tests;
