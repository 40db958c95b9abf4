//! Who saw which message at which offset: a row for each look, a column for each offset, and the committed offset.

use super::focus::{Focus, lies_at};
use super::tell::queue_in_words;
use crate::history::{Audit, GroupId, History, Kind, MemberId, MessageId, NodeId, QueueId, Slot};

/// A queue over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Which queue.
    pub queue: String,
    /// From when until when there was this one, if its topic was deleted or made again.
    pub lives: String,
    /// Which group's committed offset is shown.
    pub group: Option<String>,
    /// The first offset that is shown.
    pub first: u64,
    /// How many.
    pub columns: usize,
    /// The offset of the witness.
    pub witness: Option<u64>,
    /// In order of time.
    pub rows: Vec<Row>,
    /// Rows that are not shown.
    pub left_out: usize,
}

/// One look.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When.
    pub at_ns: u64,
    /// Who and what.
    pub who: String,
    /// What was seen, by column.
    pub cells: Vec<Option<Cell>>,
    /// The committed offset then.
    pub committed: Option<u64>,
    /// The committed offset moves here.
    pub moves: bool,
    /// It is, or holds, an event that is out of order or shows the broken promise.
    pub marked: bool,
    /// The topic is deleted, or made again.
    pub cut: bool,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// A message, or nothing that anybody sent.
    pub value: String,
    /// A number that equal values share.
    pub colour: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Look {
    Appends(NodeId),
    Acknowledged(NodeId),
    Gets(MemberId),
    Done(MemberId),
    Fails(MemberId),
    Commits(GroupId),
    Recovers(NodeId),
    Opens(NodeId),
    Unlists(NodeId),
    Deletes(NodeId),
    Makes(NodeId),
}

/// The grids of the queues that matter: two at most, the older first. These events are marked.
#[must_use]
pub fn grids(history: &History, audit: &Audit, focus: &Focus, marked: &[usize]) -> Vec<Grid> {
    let queues = focus.queues().into_iter().filter(|queue| !history.is_inner(*queue));
    let mut queues: Vec<QueueId> = queues.collect();
    queues.truncate(2);
    let mut grids: Vec<Grid> = queues
        .into_iter()
        .map(|queue| grid(history, audit, focus, queue, marked))
        .filter(|grid| !grid.rows.is_empty())
        .collect();
    if grids.iter().any(|grid| !grid.lives.is_empty()) {
        grids.sort_by_key(|grid| grid.rows.first().map(|row| row.at_ns));
    }
    grids
}

/// When a queue was made again, and when its topic was deleted.
fn lives(history: &History, queue: QueueId) -> String {
    let at = |event: usize| history.events.get(event).map_or(0, |event| event.at_ns);
    let seconds = |ns: u64| format!("{:.3} s", ns as f64 / 1e9);
    let deleted = history.deleted.get(&queue).map(|deletion| at(deletion.event));
    match (history.former(queue), deleted) {
        (None, None) => String::new(),
        (None, Some(until)) => format!("the one that was deleted at {}", seconds(until)),
        (Some(former), until) => {
            let before = history.deleted.get(&former).map_or(0, |deletion| at(deletion.event));
            let until = until.map_or(String::new(), |at| format!(", deleted at {}", seconds(at)));
            format!("the one that was made after the deletion at {}{until}", seconds(before))
        }
    }
}

fn grid(history: &History, audit: &Audit, focus: &Focus, queue: QueueId, marks: &[usize]) -> Grid {
    let named = focus.at.filter(|slot| slot.queue == queue);
    let witness =
        named.or(focus.slots.iter().find(|slot| slot.queue == queue).copied()).map(|slot| slot.offset);
    let centre = witness.unwrap_or_else(|| last_committed(history, focus, queue));
    let first = centre.saturating_sub(COLUMNS as u64 / 2);
    let group = focus
        .group
        .filter(|group| history.reads(*group, queue))
        .or_else(|| (0..history.groups.len() as u32).map(GroupId).find(|group| history.reads(*group, queue)));
    let mut rows: Vec<(Look, usize, Row)> = Vec::new();
    let mut committed = None;
    let own = history.queues[queue.index()];
    let deleted = history.deleted.get(&queue).map(|deletion| deletion.event);
    let former = history.former(queue).and_then(|of| history.deleted.get(&of)).map(|it| it.event);
    // When this one is there, of all of its name.
    let ours = |number: usize| former.is_none_or(|it| it < number) && deleted.is_none_or(|it| number <= it);
    for (number, event) in history.events.iter().enumerate() {
        let member_of = |member: MemberId| group == Some(history.members[member.index()].group);
        let (look, slot, value) = match event.kind {
            Kind::Append { slot, .. } => {
                (Look::Appends(event.node), slot, lies_at(history, audit, slot, number))
            }
            Kind::Sent { message, at: Some(slot), .. } => {
                (Look::Acknowledged(event.node), slot, Some(message))
            }
            Kind::Enter { member, slot, message, .. } if member_of(member) => {
                (Look::Gets(member), slot, message)
            }
            Kind::Exit { member, slot, ok } if member_of(member) => {
                let look = if ok { Look::Done(member) } else { Look::Fails(member) };
                (look, slot, lies_at(history, audit, slot, number))
            }
            Kind::Stored { group: of, queue: at, offset } | Kind::Loaded { group: of, queue: at, offset }
                if Some(of) == group && at == queue =>
            {
                let before = committed.replace(offset);
                // What moves left of the columns that are shown moves nothing there.
                let aside = offset < first && before.is_none_or(|before| before < first);
                if before != committed && (!aside || marks.contains(&number)) {
                    rows.push((Look::Commits(of), number, row(event.at_ns, committed, true)));
                }
                continue;
            }
            Kind::TopicUnlisted { topic, broker } if own.is_of(topic, broker) && ours(number) => {
                // What groups had committed there is forgotten with it.
                committed = None;
                rows.push((Look::Unlists(event.node), number, cut(event.at_ns)));
                continue;
            }
            Kind::TopicDeleted { topic, broker } if own.is_of(topic, broker) && ours(number) => {
                rows.push((Look::Deletes(event.node), number, cut(event.at_ns)));
                continue;
            }
            Kind::TopicSet { topic, broker, .. }
                if former.is_some_and(|it| it < number) && own.is_of(topic, broker) && ours(number) =>
            {
                rows.push((Look::Makes(event.node), number, cut(event.at_ns)));
                continue;
            }
            Kind::Dispatched { slot } if slot.queue == queue && deleted.is_some_and(|it| it < number) => {
                (Look::Opens(event.node), slot, lies_at(history, audit, slot, number))
            }
            Kind::QueueRecovered { queue: at, max, .. } if at == queue => {
                let mut row = row(event.at_ns, committed, false);
                for offset in first..max.min(first + COLUMNS as u64) {
                    row.cells[(offset - first) as usize] =
                        Some(cell(history, lies_at(history, audit, Slot { queue, offset }, number)));
                }
                rows.push((Look::Recovers(event.node), number, row));
                continue;
            }
            _ => continue,
        };
        if slot.queue != queue || !(first..first + COLUMNS as u64).contains(&slot.offset) {
            continue;
        }
        let column = (slot.offset - first) as usize;
        // What somebody does at once, or within a moment, is one look.
        let same = rows.last().is_some_and(|(last, _, row)| {
            *last == look && row.cells[column].is_none() && event.at_ns < row.at_ns + MOMENT
        });
        if !same {
            rows.push((look, number, row(event.at_ns, committed, false)));
        }
        let (_, last, row) = rows.last_mut().expect("just there");
        row.cells[column] = Some(cell(history, value));
        *last = number;
        row.marked |= marks.contains(&number);
    }
    for (look, last, row) in &mut rows {
        row.who = words(history, *look);
        row.marked |= marks.contains(last);
    }
    let left_out = shorten(&mut rows, marks.first().copied().unwrap_or(focus.event));
    let mut rows: Vec<Row> = rows.into_iter().map(|(_, _, row)| row).collect();
    rows.extend(read_in_the_end(history, audit, queue, first, committed));
    // Columns that nobody ever saw say nothing.
    let used = |row: &Row| row.cells.iter().rposition(Option::is_some).map_or(0, |last| last + 2);
    let columns = rows.iter().map(used).max().unwrap_or(0).min(COLUMNS);
    rows.iter_mut().for_each(|row| row.cells.truncate(columns));
    Grid {
        queue: queue_in_words(history, queue),
        lives: lives(history, queue),
        group: group.map(|group| history.group_name(group).to_owned()),
        first,
        columns,
        witness,
        rows,
        left_out,
    }
}

fn row(at_ns: u64, committed: Option<u64>, moves: bool) -> Row {
    let (cells, marked, cut) = (vec![None; COLUMNS], false, false);
    Row { at_ns, who: String::new(), cells, committed, moves, marked, cut }
}

fn cut(at_ns: u64) -> Row {
    Row { cut: true, ..row(at_ns, None, false) }
}

fn cell(history: &History, message: Option<MessageId>) -> Cell {
    message.map_or(Cell { value: "?".to_owned(), colour: 0 }, |id| Cell {
        value: history.message_name(id),
        colour: id.0 + 1,
    })
}

fn last_committed(history: &History, focus: &Focus, queue: QueueId) -> u64 {
    let told = history.events.iter().take(focus.event + 1).rev();
    let mut stored = told.filter_map(|event| match event.kind {
        Kind::Stored { queue: of, offset, .. } if of == queue => Some(offset),
        _ => None,
    });
    stored.next().unwrap_or(0)
}

fn shorten(rows: &mut Vec<(Look, usize, Row)>, event: usize) -> usize {
    if rows.len() <= ROWS {
        return 0;
    }
    let all = rows.len();
    let centre = rows.partition_point(|(_, number, _)| *number < event);
    let from = centre.saturating_sub(ROWS * 2 / 3).min(all - ROWS);
    rows.drain(..from);
    rows.truncate(ROWS);
    all - rows.len()
}

fn read_in_the_end(
    history: &History,
    audit: &Audit,
    queue: QueueId,
    first: u64,
    committed: Option<u64>,
) -> Option<Row> {
    let content = audit.queues.iter().find(|content| content.queue == queue)?;
    let mut row = row(history.events.last()?.at_ns, committed, false);
    "read in the end".clone_into(&mut row.who);
    for read in content.read.iter().filter(|read| (first..first + COLUMNS as u64).contains(&read.offset)) {
        row.cells[(read.offset - first) as usize] = Some(cell(history, read.message));
    }
    Some(row)
}

fn words(history: &History, look: Look) -> String {
    match look {
        Look::Appends(node) => format!("{} stores", history.node_name(node)),
        Look::Acknowledged(node) => format!("{} is told OK", history.node_name(node)),
        Look::Gets(member) => format!("{} gets", history.member_name(member)),
        Look::Done(member) => format!("{} is done with", history.member_name(member)),
        Look::Fails(member) => format!("{} cannot handle", history.member_name(member)),
        Look::Commits(group) => format!("{} commits", history.group_name(group)),
        Look::Recovers(node) => format!("{} has recovered", history.node_name(node)),
        Look::Opens(node) => format!("{} puts back", history.node_name(node)),
        Look::Unlists(node) => format!("{} deletes the topic", history.node_name(node)),
        Look::Deletes(node) => format!("{} has deleted all", history.node_name(node)),
        Look::Makes(node) => format!("{} has the topic again", history.node_name(node)),
    }
}

const COLUMNS: usize = 17;
const ROWS: usize = 44;
const MOMENT: u64 = 50_000_000;
