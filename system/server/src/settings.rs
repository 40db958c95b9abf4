//! The configuration of a program: defaults, then the environment, then the file, then flags; the last one wins.

use std::{collections::BTreeMap, fs, path::Path};

use protocol::config::{self, Key, Problem, ProblemKind, Source, Table};

use crate::failure::Failure;

/// One setting that does not come from a file.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The flag or variable, for messages.
    pub(crate) origin: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Given {
    /// From the flag or variable `origin`.
    pub(crate) fn new(origin: &str, key: &str, value: &str) -> Self {
        Self { origin: origin.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    /// From the words behind `--set`.
    pub(crate) fn parse(word: &str) -> Result<Self, Failure> {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            Failure::config(format!("--set {word}: write --set KEY=VALUE, without blanks around ="))
        })?;
        Ok(Self::new(&format!("--set {word}"), key.trim(), value))
    }
}

/// Everything that settings come from.
#[derive(Debug, Default)]
pub(crate) struct Sources<'a> {
    pub(crate) environment: Vec<Given>,
    pub(crate) file: Option<&'a Path>,
    pub(crate) flags: Vec<Given>,
    /// Problems are warnings.
    pub(crate) lenient: bool,
    /// Keys of RocketMQ that do nothing here.
    pub(crate) without_effect: &'a [&'a str],
}

/// What loading told beside the settings themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Where each key was set that was set at all.
    pub(crate) origins: BTreeMap<String, String>,
    pub(crate) warnings: Vec<String>,
}

impl Sources<'_> {
    /// Fills `table`, or says everything that is wrong.
    pub(crate) fn load(&self, table: &mut dyn Table) -> Result<Told, Failure> {
        let mut told = Told::default();
        let mut errors = Vec::new();
        for given in &self.environment {
            self.give(table, given, &mut told, &mut errors);
        }
        if let Some(path) = self.file {
            self.read(table, path, &mut told, &mut errors)?;
        }
        for given in &self.flags {
            self.give(table, given, &mut told, &mut errors);
        }
        if errors.is_empty() {
            return Ok(told);
        }
        let hint = if errors.iter().any(|(_, unknown)| *unknown) {
            "\n-p prints all keys; --lenient-config warns instead of stopping"
        } else {
            ""
        };
        let lines: Vec<_> = errors.into_iter().map(|(line, _)| line).collect();
        Err(Failure::config(lines.join("\n") + hint))
    }

    fn source<'a>(&'a self, name: &'a str) -> Source<'a> {
        Source { name, strict: !self.lenient, without_effect: self.without_effect }
    }

    fn read(
        &self,
        table: &mut dyn Table,
        path: &Path,
        told: &mut Told,
        errors: &mut Vec<(String, bool)>,
    ) -> Result<(), Failure> {
        let name = path.display().to_string();
        let text = fs::read(path).map_err(|error| {
            Failure::config(format!(
                "the configuration file {name} cannot be read: {error}. Check the path behind -c"
            ))
        })?;
        for entry in config::read_properties(&text) {
            if table.value(&entry.key).is_some() {
                told.origins.insert(entry.key, format!("{name}:{}", entry.line));
            }
        }
        let problems = match config::apply(&mut [table], &self.source(&name), &text) {
            Ok(warnings) => warnings,
            Err(problems) => problems.0,
        };
        for problem in &problems {
            self.sort(problem, problem.to_string(), told, errors);
        }
        Ok(())
    }

    fn give(&self, table: &mut dyn Table, given: &Given, told: &mut Told, errors: &mut Vec<(String, bool)>) {
        let text = format!("{}={}", config::escape(&given.key), config::escape(&given.value));
        let problems = match config::apply(&mut [&mut *table], &self.source(&given.origin), text.as_bytes()) {
            Ok(warnings) => warnings,
            Err(problems) => problems.0,
        };
        for problem in &problems {
            // A flag has no lines.
            let line = problem.to_string().replacen(
                &format!("{}:1: ", given.origin),
                &format!("{}: ", given.origin),
                1,
            );
            self.sort(problem, line, told, errors);
        }
        if problems.is_empty() {
            told.origins.insert(given.key.clone(), given.origin.clone());
        }
    }

    fn sort(&self, problem: &Problem, line: String, told: &mut Told, errors: &mut Vec<(String, bool)>) {
        if self.lenient || problem.kind == ProblemKind::WithoutEffect {
            told.warnings.push(line);
        } else {
            errors.push((line, matches!(problem.kind, ProblemKind::Unknown { .. })));
        }
    }
}

/// The settings in a form that reads back, with a comment above each that is not a default.
pub(crate) fn print(table: &dyn Table, told: &Told, wanted: impl Fn(&Key) -> bool) -> String {
    let mut lines = BTreeMap::new();
    for key in table.keys().iter().filter(|key| wanted(key)) {
        let value = table.value(key.name).unwrap_or_default();
        let default = table.default_value(key.name).unwrap_or_default();
        let origin = match told.origins.get(key.name) {
            Some(origin) if value != default => format!("# {origin}; the default is {default:?}\n"),
            _ => String::new(),
        };
        lines.insert(key.name, format!("{origin}{}={}\n", key.name, config::escape(&value)));
    }
    lines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    protocol::config! {
        /// For the tests.
        struct Config {
            "namesrvAddr" namesrv_addr: String = String::new(), "Name servers.", Important;
            "listenPort" listen_port: u16 = 10911, "Its port.", Important;
            "fileReservedTime" reserved: i64 = 72, "Hours.";
        }
    }

    fn file(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broker.conf"), text).unwrap();
        dir
    }

    fn load(text: &str, lenient: bool, sets: &[&str]) -> Result<(Config, Told), String> {
        let dir = file(text);
        let mut config = Config::default();
        let path = dir.path().join("broker.conf");
        let sources = Sources {
            environment: vec![Given::new("NAMESRV_ADDR", "namesrvAddr", "env:9876")],
            file: Some(&path),
            flags: sets.iter().map(|word| Given::parse(word).unwrap()).collect(),
            lenient,
            without_effect: &["useTLS"],
        };
        let short = |text: &str| text.replace(&format!("{}/", dir.path().display()), "");
        match sources.load(&mut config) {
            Ok(mut told) => {
                told.warnings.iter_mut().for_each(|line| *line = short(line));
                told.origins.values_mut().for_each(|line| *line = short(line));
                Ok((config, told))
            }
            Err(failure) => Err(short(&failure.to_string())),
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_environment() {
        let (config, told) =
            load("fileReservedTime = 168 \nlistenPort=1\n", false, &["listenPort=2"]).unwrap();
        let expected = Config { namesrv_addr: "env:9876".into(), listen_port: 2, reserved: 168 };
        assert_eq!(config, expected);
        insta::assert_snapshot!("printed", print(&config, &told, |_| true));
        insta::assert_snapshot!("printed_important", print(&config, &told, Key::is_important));
        let (config, _) = load("namesrvAddr=file:9876", false, &[]).unwrap();
        assert_eq!(config.namesrv_addr, "file:9876");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_place() {
        let text = "listenPrt=1\nuseTLS=true\nfileReservedTime=three days\n";
        insta::assert_snapshot!("errors", load(text, false, &["listenPort=x", "zzz=1"]).unwrap_err());
        let (config, told) = load(text, true, &["listenPort=5"]).unwrap();
        assert_eq!((config.listen_port, config.reserved), (5, 72));
        insta::assert_snapshot!("warnings", told.warnings.join("\n"));
        let missing = Sources { file: Some(Path::new("/absent/x.conf")), ..Sources::default() };
        insta::assert_snapshot!("missing_file", missing.load(&mut Config::default()).unwrap_err());
        insta::assert_snapshot!("no_equals", Given::parse("listenPort").unwrap_err());
    }
}
