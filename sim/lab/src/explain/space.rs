//! Who told whom what: a lane for each process and each disk, requests and answers between them, faults over them.

use std::collections::{BTreeMap, BTreeSet};

use super::detail::Detail;
use super::focus::Focus;
use super::frames::{Fate, Frame};
use super::schedule;
use super::story::{Story, Tone};
use crate::check::{Rule, Violation};
use crate::history::{History, Kind};

/// The lanes, what has to do with the witness, and everything around it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// Only what has to do with the witness.
    pub near: Drawing,
    /// All frames of that time.
    pub all: Drawing,
}

/// One picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    /// Names, from left to right; a disk stands right of its broker.
    pub lanes: Vec<String>,
    /// Requests and answers.
    pub arrows: Vec<Arrow>,
    /// What happened on one lane.
    pub marks: Vec<Mark>,
    /// Faults.
    pub bands: Vec<Band>,
    /// Arrows that are not drawn.
    pub left_out: usize,
}

/// One request or answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrow {
    /// From this lane.
    pub from: usize,
    /// To that lane.
    pub to: usize,
    /// When it was sent.
    pub sent_ns: u64,
    /// When it came, or when it was lost.
    pub until_ns: u64,
    /// What became of it.
    pub fate: Fate,
    /// What it is.
    pub name: String,
    /// It is an answer.
    pub answer: bool,
    /// It carries the message.
    pub ours: bool,
    /// Header fields and the rest, a line each.
    pub fields: Vec<String>,
}

/// Something on one lane, at once or for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// On this lane.
    pub lane: usize,
    /// From then.
    pub from_ns: u64,
    /// Until then.
    pub until_ns: u64,
    /// In a word.
    pub label: String,
    /// In a sentence.
    pub text: String,
    /// What it means.
    pub tone: Tone,
}

/// A fault over some lanes, or all.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Which; none = all.
    pub lanes: Vec<usize>,
    /// From then.
    pub from_ns: u64,
    /// Until then.
    pub until_ns: u64,
    /// In words.
    pub what: String,
}

/// What the pictures are made of.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The run.
    pub history: &'a History,
    /// And what else it told.
    pub detail: &'a Detail,
    /// Its frames.
    pub frames: &'a [Frame],
    /// Its faults.
    pub faults: &'a [schedule::Row],
    /// What it is about.
    pub focus: &'a Focus,
    /// Its story.
    pub story: &'a Story,
    /// The broken promise.
    pub violation: &'a Violation,
}

/// Draws both.
#[must_use]
pub fn space(of: Sources<'_>) -> Space {
    let (from, until) = of.story.span();
    let (from, until) =
        (from.saturating_sub(MOMENT), until.max(of.violation.at_ns.min(until + LATER)) + MOMENT);
    let frames: Vec<(usize, &Frame)> =
        (0..).zip(of.frames).filter(|(_, it)| it.from != LAB && it.to != LAB).collect();
    let kin = kin(of, from, until);
    let near = frames.iter().filter(|(index, _)| kin.contains_key(index)).copied().collect();
    let all = frames.iter().filter(|(_, frame)| (from..=until).contains(&frame.sent_ns)).copied().collect();
    let rank = |index: &usize| kin.get(index).copied().unwrap_or(u64::MAX);
    let nearest = |index: &usize| of.frames[*index].sent_ns.abs_diff(centre(of));
    Space { near: drawing(of, near, NEAR, rank), all: drawing(of, all, ALL, nearest) }
}

/// The moment that shows the broken promise best.
fn centre(of: Sources<'_>) -> u64 {
    let first = of.story.first().filter(|line| line.tone != Tone::Missing);
    first.map_or(of.violation.at_ns, |line| line.at_ns)
}

/// Frames that have to do with the witness, each with how far it is from it.
fn kin(of: Sources<'_>, from: u64, until: u64) -> BTreeMap<usize, u64> {
    let (history, focus) = (of.history, of.focus);
    let names: Vec<Vec<u8>> = focus
        .message
        .into_iter()
        .flat_map(|id| {
            let message = &history.messages[id.index()];
            [
                history.message_name(id).into_bytes(),
                format!("T{}-{}", message.producer, message.serial).into_bytes(),
            ]
        })
        .collect();
    let positions: BTreeSet<String> = history
        .events
        .iter()
        .filter_map(|event| match event.kind {
            Kind::Append { slot, position, .. } if focus.slots.contains(&slot) => Some(position.to_string()),
            _ => None,
        })
        .collect();
    let group = focus.group.map(|group| history.group_name(group));
    let queues: Vec<(&str, String, &str)> = focus
        .queues()
        .into_iter()
        .map(|queue| {
            let facts = history.queues[queue.index()];
            (history.topic_name(facts.topic), facts.number.to_string(), history.node_name(facts.broker))
        })
        .collect();
    let owners = matches!(of.violation.rule, Rule::Con5 | Rule::L3);
    let routes = matches!(of.violation.rule, Rule::Ns1 | Rule::Ns2 | Rule::L2);
    let node = focus.node.map(|node| history.node_name(node));
    let centre = centre(of);
    let mut kin = BTreeMap::new();
    for (index, frame) in of.frames.iter().enumerate() {
        let distance = frame.sent_ns.abs_diff(centre);
        let holds = names.iter().any(|name| frame.holds(name));
        let back = frame.name == "ConsumerSendMsgBack"
            && frame.field("offset").is_some_and(|at| positions.contains(at));
        if holds || back {
            kin.insert(index, distance / 1000);
            continue;
        }
        if !(from..=until).contains(&frame.sent_ns) || frame.answers.is_some() {
            continue;
        }
        let of_queue = queues.iter().any(|(topic, number, broker)| {
            let topics = [frame.field("topic"), frame.field("originTopic")];
            topics.contains(&Some(topic)) && frame.field("queueId") == Some(number) && frame.to == *broker
        });
        let of_group = frame.field("consumerGroup").is_none_or(|it| group.is_none_or(|group| it == group));
        let ownership =
            owners && (frame.name.contains("ConsumerListByGroup") || frame.name.contains("ConsumerIds"));
        let talks = node.is_some_and(|node| frame.from == node || frame.to == node);
        let routing = routes && talks && !frame.name.contains("Message");
        let near = distance < NEARBY;
        if of_queue && of_group && !frame.name.starts_with("Send") || (ownership || routing) && near {
            kin.insert(index, FAR + distance);
        }
    }
    let answers = of.frames.iter().enumerate().filter_map(|(index, frame)| Some((index, frame.answers??)));
    for (answer, request) in answers {
        match (kin.get(&answer).copied(), kin.get(&request).copied()) {
            (Some(rank), None) => drop(kin.insert(request, rank + 1)),
            (None, Some(rank)) => drop(kin.insert(answer, rank + 1)),
            _ => {}
        }
    }
    kin
}

fn drawing(
    of: Sources<'_>,
    mut frames: Vec<(usize, &Frame)>,
    most: usize,
    rank: impl Fn(&usize) -> u64,
) -> Drawing {
    let all = frames.len();
    frames.sort_by_key(|(index, _)| rank(index));
    frames.truncate(most);
    frames.sort_by_key(|(index, _)| *index);
    let mut names: BTreeSet<String> =
        frames.iter().flat_map(|(_, it)| [it.from.clone(), it.to.clone()]).collect();
    let shown = of
        .story
        .lines
        .iter()
        .filter(|line| !matches!(line.step, "heal" | "end" | "missing" | "read" | "noticed"));
    names
        .extend(shown.clone().map(|line| line.node.clone()).filter(|node| node != "lab" && !node.is_empty()));
    let lanes = lanes(of.history, &names);
    let place = |name: &str| lanes.iter().position(|lane| lane == name);
    let arrows: Vec<Arrow> = frames
        .into_iter()
        .filter_map(|(_, frame)| arrow(of, frame, place(&frame.from)?, place(&frame.to)?))
        .collect();
    let mut marks: Vec<Mark> = shown
        .filter_map(|line| {
            let lane = place(&line.node)?;
            let (from_ns, until_ns) = (line.at_ns, line.at_ns);
            Some(Mark {
                lane,
                from_ns,
                until_ns,
                label: line.step.to_owned(),
                text: line.text.clone(),
                tone: line.tone,
            })
        })
        .collect();
    marks.extend(disk_marks(of, &place));
    let marks = joined(marks);
    let times = arrows
        .iter()
        .flat_map(|arrow| [arrow.sent_ns, arrow.until_ns])
        .chain(marks.iter().map(|mark| mark.from_ns));
    let (first, last) = times.fold((u64::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
    let bands = of.faults.iter().filter_map(|fault| {
        let from_ns = fault.from_ns.filter(|from| *from <= last && fault.until_ns >= first)?;
        let lanes = fault.nodes.iter().filter_map(|node| place(node)).collect::<Vec<_>>();
        let drawn = fault.nodes.is_empty() || !lanes.is_empty();
        let until_ns = fault.until_ns.min(last);
        drawn.then(|| Band { lanes, from_ns: from_ns.max(first), until_ns, what: fault.what.clone() })
    });
    let bands = bands.collect();
    let left_out = all.saturating_sub(arrows.len());
    Drawing { arrows, marks, bands, left_out, lanes }
}

/// What happened on one lane at the same time is one mark.
fn joined(marks: Vec<Mark>) -> Vec<Mark> {
    let mut joined: Vec<Mark> = Vec::new();
    for mark in marks {
        let moment = |mark: &Mark| (mark.lane, mark.from_ns, mark.until_ns);
        match joined.iter_mut().find(|other| moment(other) == moment(&mark)) {
            Some(known) if known.text == mark.text => {}
            Some(known) => {
                known.label = format!("{}, {}", known.label, mark.label);
                known.text = format!("{}\n{}", known.text, mark.text);
                known.tone = if weight(mark.tone) > weight(known.tone) { mark.tone } else { known.tone };
            }
            None => joined.push(mark),
        }
    }
    joined
}

fn weight(tone: Tone) -> u8 {
    match tone {
        Tone::Plain => 0,
        Tone::Fault => 1,
        Tone::Noticed => 2,
        Tone::Missing => 3,
        Tone::Wrong => 4,
    }
}

/// Clients, name servers, brokers; a disk beside each broker.
fn lanes(history: &History, names: &BTreeSet<String>) -> Vec<String> {
    let broker =
        |name: &&String| history.brokers.iter().any(|broker| history.node_name(broker.node) == *name);
    let kinds: [fn(&str) -> bool; 2] = [|name| name.starts_with('p'), |name| name.starts_with('c')];
    let mut lanes: Vec<String> = Vec::new();
    for kind in kinds {
        lanes.extend(names.iter().filter(|name| !broker(name) && kind(name)).cloned());
    }
    let rest =
        names.iter().filter(|name| !broker(name) && !lanes.contains(name)).cloned().collect::<Vec<_>>();
    lanes.extend(rest);
    for name in names.iter().filter(broker) {
        lanes.push(name.clone());
        lanes.push(format!("{name} disk"));
    }
    lanes
}

fn arrow(of: Sources<'_>, frame: &Frame, from: usize, to: usize) -> Option<Arrow> {
    let ours = of.focus.message.is_some_and(|id| frame.holds(of.history.message_name(id).as_bytes()));
    let until_ns = match frame.fate {
        Fate::Arrived(at) | Fate::Reset(at) => at,
        Fate::Lost => frame.sent_ns,
    };
    let mut fields =
        vec![format!("{} from {} to {}, number {}", frame.name, frame.from, frame.to, frame.opaque)];
    fields.push(match frame.fate {
        Fate::Arrived(at) => format!("sent at {}, there at {}", seconds(frame.sent_ns), seconds(at)),
        Fate::Reset(at) => format!(
            "sent at {}, never there: the connection broke at {}",
            seconds(frame.sent_ns),
            seconds(at)
        ),
        Fate::Lost => format!("sent at {}, never there", seconds(frame.sent_ns)),
    });
    fields.extend(frame.remark.iter().map(|remark| format!("remark: {remark}")));
    let shown = frame.fields.iter().filter(|(_, value)| !value.is_empty());
    fields.extend(shown.map(|(name, value)| {
        let value: String =
            value.chars().map(|it| if it.is_control() { '·' } else { it }).take(160).collect();
        format!("{name} = {value}")
    }));
    fields.push(format!("{} bytes", frame.bytes.len() + 4));
    let (sent_ns, fate, name) = (frame.sent_ns, frame.fate, frame.name.clone());
    (from != to).then_some(Arrow {
        from,
        to,
        sent_ns,
        until_ns,
        fate,
        name,
        answer: frame.answers.is_some(),
        ours,
        fields,
    })
}

/// The write of the message's record, and the syncs that come after it.
fn disk_marks(of: Sources<'_>, place: &impl Fn(&str) -> Option<usize>) -> Vec<Mark> {
    let mut marks = Vec::new();
    // What is stored at the same place later is another message.
    let mut seen = BTreeSet::new();
    for event in &of.history.events {
        let Kind::Append { slot, position, end } = event.kind else { continue };
        if !of.focus.slots.contains(&slot) || !seen.insert(slot) {
            continue;
        }
        let node = of.history.node_name(event.node);
        let Some(lane) = place(&format!("{node} disk")) else { continue };
        let number = of.detail.nodes.iter().position(|(name, _)| name == node);
        let mut paths = BTreeMap::new();
        let (mut write, mut syncs) = (None, 0);
        let mut begun: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for note in of.detail.notes.iter().filter(|note| Some(note.node) == number) {
            let numbers =
                (note.numbers.first().copied().unwrap_or(0), note.numbers.get(1).copied().unwrap_or(0));
            match note.kind {
                "disk.open" => {
                    drop(paths.insert(numbers.0, String::from_utf8_lossy(&note.bytes).into_owned()))
                }
                "disk.write" if write.is_none() && note.at_ns + MOMENT >= event.at_ns => {
                    let base = paths.get(&numbers.0).and_then(|path| log_start(path));
                    let length = note.numbers.get(2).copied().unwrap_or(0);
                    let from = base.map(|base| base + numbers.1);
                    if from.is_some_and(|from| from < end && from + length > position) {
                        write = Some(numbers.0);
                        let text = format!(
                            "The record at {position} to {end} is written into the page cache. A loss of power still takes it."
                        );
                        marks.push(mark(lane, (note.at_ns, note.at_ns), "write", text, Tone::Plain));
                    }
                }
                "disk.sync_begin" => drop(begun.entry(numbers).or_insert(note.at_ns)),
                "disk.sync" if write == Some(numbers.0) && syncs < 2 => {
                    syncs += 1;
                    let from = begun.get(&numbers).copied().unwrap_or(note.at_ns);
                    let ok = note.numbers.get(3) == Some(&1);
                    let (label, tone) = if ok { ("sync", Tone::Plain) } else { ("sync fails", Tone::Fault) };
                    let text =
                        format!("A sync of the log file, from {} to {}.", seconds(from), seconds(note.at_ns));
                    marks.push(mark(lane, (from, note.at_ns), label, text, tone));
                }
                _ => {}
            }
        }
    }
    marks
}

fn mark(lane: usize, (from_ns, until_ns): (u64, u64), label: &str, text: String, tone: Tone) -> Mark {
    Mark { lane, from_ns, until_ns, label: label.to_owned(), text, tone }
}

/// Where a file of the log begins.
fn log_start(path: &str) -> Option<u64> {
    let (folder, name) = path.rsplit_once('/')?;
    if folder.ends_with("commitlog") { name.parse().ok() } else { None }
}

fn seconds(ns: u64) -> String {
    format!("{:.6} s", ns as f64 / 1e9)
}

/// The node that asks for the lab.
const LAB: &str = "asker";
const NEAR: usize = 60;
const ALL: usize = 400;
const MOMENT: u64 = 20_000_000;
const LATER: u64 = 1_000_000_000;
const NEARBY: u64 = 5_000_000_000;
/// Farther than anything that carries the message itself.
const FAR: u64 = 1 << 50;
