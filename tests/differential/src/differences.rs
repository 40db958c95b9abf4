//! The table of differences that are meant: `differences.txt`.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// The lines of the table, and which of them were needed.
pub(crate) struct Listed {
    lines: Vec<Line>,
}

struct Line {
    text: String,
    /// A version, or `*`.
    version: String,
    /// Place of the field; `*` stands for anything.
    pattern: String,
    used: bool,
}

impl Listed {
    pub(crate) fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("differences.txt");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let lines = lines.map(|line| {
            let mut parts = line.splitn(3, '|').map(str::trim);
            let (version, pattern) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let reason = parts.next().filter(|reason| !reason.is_empty());
            reason.with_context(|| format!("differences.txt: version | place | reason, not {line:?}"))?;
            Ok(Line {
                text: line.to_owned(),
                version: version.to_owned(),
                pattern: pattern.to_owned(),
                used: false,
            })
        });
        Ok(Self { lines: lines.collect::<Result<_>>()? })
    }

    /// Whether a difference is meant.
    pub(crate) fn covers(&mut self, version: &str, place: &str) -> bool {
        let fits = |line: &&mut Line| {
            (line.version == "*" || line.version == version) && matches(&line.pattern, place)
        };
        self.lines.iter_mut().find(fits).map(|line| line.used = true).is_some()
    }

    /// Lines that no difference needed.
    pub(crate) fn unused(&self) -> Vec<&str> {
        self.lines.iter().filter(|line| !line.used).map(|line| line.text.as_str()).collect()
    }
}

/// Whether a pattern with `*` for any text fits the whole of a place.
fn matches(pattern: &str, place: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == place };
    let Some(rest) = place.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, place, fits) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/*/c", "a/b/b/c", true),
            ("*", "", true),
            ("a*c*", "abd", false),
            ("*b", "aba", false),
        ] {
            assert_eq!(matches(pattern, place), fits, "{pattern} {place}");
        }
    }
}
