//! A capsule: a plan that once failed, with the rule that it broke and what became of it. Seeds change their meaning when
//! the generator changes; a capsule does not.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use crate::check::Rule;
use crate::outcome::Run;
use crate::plan::Plan;

/// A plan that once failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// Of the format: 1.
    pub capsule: u32,
    /// The commit that failed, when that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// What it found.
    #[serde(default)]
    pub found: Found,
    /// The rules that it broke; none when that was not noted.
    pub broke: Vec<Rule>,
    /// What went wrong, for whom, in a sentence or two.
    pub story: String,
    /// First line of the commit that mended it; empty until then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mended: String,
    /// Everything the run does.
    pub plan: Plan,
}

/// What was wrong when a plan failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// The system.
    #[default]
    Bug,
    /// The rule, which blamed the system for what is right.
    Rule,
}

impl Capsule {
    /// What a run that failed is kept as.
    #[must_use]
    pub fn of(run: &Run, commit: &str, plan: Plan) -> Self {
        let mut broke: Vec<Rule> = run.violations.iter().map(|violation| violation.rule).collect();
        broke.dedup();
        let story = run.violations.first().map_or(run.note.clone(), |violation| violation.sentence.clone());
        let (commit, mended) = (commit.to_owned(), String::new());
        Self { capsule: 1, commit, found: Found::Bug, broke, story, mended, plan }
    }

    /// Reads a capsule, or a plan alone, of which nothing else is known.
    pub fn read(text: &str) -> serde_json::Result<(Option<Self>, Plan)> {
        #[derive(Deserialize)]
        struct Kind {
            capsule: Option<u32>,
        }
        match serde_json::from_str::<Kind>(text)?.capsule {
            Some(_) => {
                serde_json::from_str::<Self>(text).map(|capsule| (Some(capsule.clone()), capsule.plan))
            }
            None => serde_json::from_str(text).map(|plan| (None, plan)),
        }
    }

    /// As a file: a line for each field, step and call.
    pub fn write(&self) -> serde_json::Result<String> {
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, Lines::default());
        self.serialize(&mut serializer)?;
        text.push(b'\n');
        Ok(String::from_utf8(text).expect("JSON is text"))
    }
}

/// JSON with a line for what is not deep, and one for all that lies deeper.
#[derive(Default)]
struct Lines {
    depth: usize,
    filled: bool,
}

impl Lines {
    fn open(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        (self.depth, self.filled) = (self.depth + 1, false);
        out.write_all(bracket)
    }

    fn close(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled && self.depth < DEEP {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn next(&mut self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        match self.depth <= DEEP {
            true => self.line(out),
            false if first => Ok(()),
            false => out.write_all(b" "),
        }
    }

    fn line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

/// Up to here values have lines of their own: capsule, plan, steps.
const DEEP: usize = 3;

/// The page that lists what capsules found, by the names of their files.
#[must_use]
pub fn bugs(capsules: &[(String, Capsule)]) -> String {
    let mut page = String::from(
        "# Bugs that the simulator found in our own code\n\n\
         Each line is a capsule in scenarios/plans: the run that found it, kept as it was. `cargo sim replay FILE` runs it, a test\n\
         runs all of them, and `cargo sim report` writes this page from them.\n",
    );
    let parts = [
        (Found::Bug, "In the system", "mended by"),
        (Found::Rule, "In the rules, which blamed the system for what is right", "corrected by"),
    ];
    for (found, title, verb) in parts {
        let rows = capsules.iter().filter(|(_, capsule)| capsule.found == found);
        let _ = write!(
            page,
            "\n## {title}\n\n| capsule | broke | what went wrong | {verb} |\n|---|---|---|---|\n"
        );
        for (name, Capsule { broke, story, mended, plan, .. }) in rows {
            let rules: Vec<_> = broke.iter().map(|rule| rule.id()).collect();
            let rules = if rules.is_empty() { "not noted".to_owned() } else { rules.join(", ") };
            let from = format!("{} seed {}", plan.scenario, plan.seed);
            let _ = writeln!(page, "| {name} ({from}) | {rules} | {story} | {mended} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;
    use crate::outcome::Verdict;
    use crate::swarm::{Size, plain};

    #[test]
    fn a_capsule_and_a_plan_alone_are_both_read() {
        let plan = plain("first_message", 7, Size::QUICK);
        let capsule = Capsule {
            capsule: 1,
            commit: String::new(),
            found: Found::Bug,
            broke: vec![Rule::Ack1],
            story: "It was lost.".to_owned(),
            mended: "store: it is kept".to_owned(),
            plan: plan.clone(),
        };
        let text = serde_json::to_string(&capsule).unwrap();
        assert_eq!(serde_json::from_str::<Capsule>(&text).unwrap(), capsule);
        assert_eq!(Capsule::read(&text).unwrap(), (Some(capsule.clone()), plan.clone()));
        assert_eq!(Capsule::read(&serde_json::to_string(&plan).unwrap()).unwrap(), (None, plan));
        assert!(Capsule::read(&text.replace("\"story\"", "\"stroy\"")).is_err());
        assert!(
            bugs(&[("name".to_owned(), capsule)])
                .contains("| name (first_message seed 7) | ACK-1 | It was lost. | store: it is kept |")
        );
    }

    #[test]
    fn a_file_has_a_line_for_each_call_and_reads_the_same() {
        let mut plan = plain("first_message", 7, Size::QUICK);
        let call = |at_us| Op { at_us, to: Some(("b0".into(), 3)), ..Op::of(0, 1) };
        plan.ops = Some(vec![call(5), call(6)]);
        let capsule = Capsule::of(&Run::of("first_message", 7, Verdict::Fail), "c0ffee", plan);
        let text = capsule.write().unwrap();
        assert_eq!(Capsule::read(&text).unwrap().0, Some(capsule));
        let lines: Vec<_> = text.lines().filter(|line| line.contains("at_us")).collect();
        let line =
            "      {\"at_us\": 5, \"producer\": 0, \"worker\": 1, \"to\": [\"b0\", 3], \"messages\": []},";
        assert_eq!((lines.len(), lines[0]), (2, line));
    }
}
