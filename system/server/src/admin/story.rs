//! The story of a message in plain words: where it is stored, what that means now, and what happens next and when.

use protocol::{name, properties::names};

use super::{
    calls::Stored,
    facts::{Case, Transaction},
    words::{count, from_now, moment, span},
};

/// Tells everything that is known of a message.
pub(super) fn tell(case: &Case) -> String {
    let mut lines = vec![title(case)];
    if let Some(first) = case.records.first() {
        lines.push(about(first));
    }
    lines.push("\nStored, oldest first:".to_owned());
    for record in &case.records {
        lines.push(format!("  {}: {}", moment(record.stored_ms, case.now_ms), case.what(record)));
        lines.push(format!("    {}", case.place(record)));
    }
    for part in [transactions(case), delays(case), messages(case), groups(case), others(case)] {
        if !part.is_empty() {
            lines.push(String::new());
            lines.extend(part);
        }
    }
    if !case.notes.is_empty() {
        lines.push("\nNot known:".to_owned());
        lines.extend(case.notes.iter().map(|note| format!("  {note}")));
    }
    lines.join("\n")
}

fn title(case: &Case) -> String {
    let id = case.records.first().map_or("", |record| &record.id);
    match &case.key {
        Some(key) => format!("Message {key}, sent to topic {}.", case.topic),
        None => format!("Message without a unique key at {id}, in topic {}.", case.topic),
    }
}

fn about(first: &Stored) -> String {
    let mut parts = Vec::new();
    for (what, name) in [("keys", names::KEYS), ("tag", names::TAGS)] {
        if let Some(value) = first.property(name) {
            parts.push(format!("{what} {value}"));
        }
    }
    parts.push(count(first.size_bytes as u64, "byte"));
    parts.push(format!("made at {} UTC by {}", super::words::utc(first.born_ms), first.born_host));
    format!("  {}", parts.join(", "))
}

/// What becomes of transactions.
fn transactions(case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    for transaction in &case.transactions {
        lines.extend(case.transaction(transaction));
    }
    lines
}

/// What waits, or waited, for its time, retries apart.
fn delays(case: &Case) -> Vec<String> {
    let waits = case
        .records
        .iter()
        .filter(|record| record.topic == name::SCHEDULE_TOPIC && name::group_of(record.target()).is_none());
    waits.flat_map(|record| case.delayed(record)).collect()
}

/// Copies that consumers see, and who has had them.
fn messages(case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    let seen: Vec<_> = case.records.iter().filter(|record| case.is_visible(record)).collect();
    if seen.is_empty() {
        return lines;
    }
    lines.push(match seen.len() {
        1 => format!("Now: consumers of {} see it.", case.topic),
        many => format!("Now: consumers of {} see it {many} times: it was stored so often.", case.topic),
    });
    for record in &seen {
        let here = case
            .progress
            .iter()
            .filter(|at| at.broker == record.broker && at.topic == record.topic && at.queue == record.queue);
        for at in here {
            lines.push(format!("  {}", reached(&at.group, at.offset, record)));
        }
    }
    if !case.progress.iter().any(|at| at.topic == case.topic) {
        lines.push("  No consumer group has come to its queue or is connected.".to_owned());
    }
    let last = seen[seen.len() - 1];
    let hours = case.setting(&last.broker, "fileReservedTime", 72);
    let kept = last.stored_ms.saturating_add(hours.saturating_mul(3_600_000));
    lines.push(format!(
        "Next: it stays for consumers until retention removes it, not before {}.",
        moment(kept, case.now_ms)
    ));
    lines
}

/// Retries and dead letters, for each group what is newest.
fn groups(case: &Case) -> Vec<String> {
    let mut groups: Vec<&str> = Vec::new();
    for group in case.records.iter().filter_map(|record| name::group_of(record.target())) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let newest = |group: &str| {
        let own = case.records.iter().filter(|record| name::group_of(record.target()) == Some(group));
        own.last().map(|record| case.retried(group, record))
    };
    groups.into_iter().filter_map(newest).flatten().collect()
}

/// Records of the system that are no messages.
fn others(case: &Case) -> Vec<String> {
    let ends = case.records.iter().filter(|record| record.topic == name::OP_HALF_TOPIC);
    ends.map(|end| {
        format!(
            "Now: it is the broker's note that the half messages at these offsets of {} are ended: {}",
            name::HALF_TOPIC,
            String::from_utf8_lossy(&end.body)
        )
    })
    .collect()
}

impl Case {
    fn broker<'a>(&'a self, record: &'a Stored) -> &'a str {
        self.brokers.get(&record.broker).map_or(&*record.broker, |(name, _)| name)
    }

    fn place(&self, record: &Stored) -> String {
        format!(
            "offset {} of queue {} of {} on {}, position {} of the log, id {}",
            record.offset,
            record.queue,
            record.topic,
            self.broker(record),
            record.position,
            record.id
        )
    }

    /// What a record is, in a few words.
    fn what(&self, record: &Stored) -> String {
        let target =
            || format!("queue {} of {}", record.number(names::REAL_QUEUE_ID).unwrap_or(0), record.target());
        match (&*record.topic, name::group_of(&record.topic)) {
            (name::HALF_TOPIC, _) => match record.number(names::TRANSACTION_CHECK_TIMES) {
                Some(checks) => format!("its copy that counts check {checks}"),
                None => format!("a half message, meant for {}", target()),
            },
            (name::SCHEDULE_TOPIC, _) => {
                format!("delayed by level {}, meant for {}", record.queue + 1, target())
            }
            (name::TRANS_CHECK_MAX_TIME_TOPIC, _) => "a half message that was given up".to_owned(),
            (name::OP_HALF_TOPIC, _) => "a note that half messages are ended".to_owned(),
            (topic, Some(group)) if topic.starts_with(name::DLQ_PREFIX) => {
                format!("a dead letter of group {group}")
            }
            (_, Some(group)) => format!("for retry {} of group {group}", record.times),
            _ if record.committed => "the committed message".to_owned(),
            _ => "the message".to_owned(),
        }
    }

    /// True for what consumers of its topic get.
    fn is_visible(&self, record: &Stored) -> bool {
        record.topic == self.topic
            && record.target() == record.topic
            && record.topic != name::OP_HALF_TOPIC
            && name::group_of(&record.topic).is_none()
    }

    fn transaction(&self, t: &Transaction) -> Vec<String> {
        let is_copy =
            |position: i64| t.copies.iter().any(|copy| i64::try_from(copy.position) == Ok(position));
        let only = self.transactions.len() == 1;
        let mut of_it = self.records.iter().filter(|record| record.broker == t.broker);
        let made_of_it = |record: &&Stored| is_copy(record.prepared) || only;
        let first = &t.copies[0];
        let group = first.property(names::PRODUCER_GROUP).unwrap_or("?");
        if let Some(message) =
            of_it.clone().find(|record| self.is_visible(record) && record.committed && made_of_it(record))
        {
            return vec![format!(
                "Now: producer group {group} committed its transaction, {} after it was sent: the message is offset {} of \
                 queue {} of {}.",
                span(message.stored_ms - first.stored_ms),
                message.offset,
                message.queue,
                message.topic
            )];
        }
        let given_up =
            |record: &&Stored| record.topic == name::TRANS_CHECK_MAX_TIME_TOPIC && made_of_it(record);
        let newest = &t.copies[t.copies.len() - 1];
        if let Some(kept) = of_it.find(|r| given_up(r) && r.stored_ms >= newest.stored_ms) {
            return vec![
                format!(
                    "Now: its transaction was given up {}: no producer of group {group} ended it, after {}. Consumers \
                     never see it.",
                    from_now(kept.stored_ms, self.now_ms),
                    count(checks(newest), "check")
                ),
                format!(
                    "Next: nothing, until retention removes it. mqadmin resumeCheckHalfMessage -t {} -i {} has it checked again.",
                    kept.topic, kept.id
                ),
            ];
        }
        match &t.end {
            Some(end) => vec![
                format!(
                    "Now: producer group {group} rolled its transaction back, {} after it was sent (offset {} of {} says so). \
                     Consumers never see it.",
                    span(end.stored_ms - first.stored_ms),
                    end.offset,
                    end.topic
                ),
                "Next: nothing, until retention removes it.".to_owned(),
            ],
            None if t.done.is_some_and(|done| i64::try_from(newest.offset).is_ok_and(|at| at < done)) => {
                vec![
                    format!(
                        "Now: the broker is done with it, and neither a message nor the record of an end was found: it was rolled \
                     back, or what it became was removed. Consumers do not see it. {} is done up to offset {}.",
                        name::HALF_TOPIC,
                        t.done.unwrap_or(0)
                    ),
                    "Next: nothing, until retention removes it.".to_owned(),
                ]
            }
            None => self.undecided(t, newest, group),
        }
    }

    fn undecided(&self, t: &Transaction, newest: &Stored, group: &str) -> Vec<String> {
        let most = u64::try_from(self.setting(&t.broker, "transactionCheckMax", 15)).unwrap_or(0);
        let checks = checks(newest);
        let mut lines = vec![format!(
            "Now: its transaction is open: group {group} has said neither commit nor rollback. Consumers do not see it. It was \
             checked {checks} of {most} times."
        )];
        if !self.is_ours(&t.broker) {
            lines.push(
                "  A broker of this make notes an end some seconds after it was told: ask again soon."
                    .to_owned(),
            );
        }
        let name = self.broker(newest);
        if t.producers == Some(0) {
            lines.push(format!(
                "Next: nothing until a producer of group {group} connects to {name}: none is connected, and nobody else can \
                 tell the outcome."
            ));
            lines.push(if self.is_ours(&t.broker) {
                let hours = self.setting(&t.broker, "fileReservedTime", 72);
                let kept = t.copies[0].stored_ms.saturating_add(hours.saturating_mul(3_600_000) - 60_000);
                format!("  Meanwhile no check is counted. If none comes it is given up at {}.", moment(kept, self.now_ms))
            } else {
                format!("  A broker of this make counts checks all the same: after {most} it gives the message up.")
            });
            return lines;
        }
        let connected = match t.producers {
            Some(1) => "its one connected producer".to_owned(),
            Some(many) => format!("one of its {many} connected producers"),
            None => "one of its connected producers".to_owned(),
        };
        let next = self.next_check(t, newest);
        let when = if next > self.now_ms {
            format!("not before {}", moment(next, self.now_ms))
        } else {
            format!("any moment: it is due since {}", moment(next, self.now_ms))
        };
        if checks >= most {
            lines.push(format!(
                "Next: it is given up, {when}, unless {connected} ends it: every check was sent."
            ));
            return lines;
        }
        let interval = self.setting(&t.broker, "transactionCheckInterval", 30_000);
        let rest = i64::try_from(most - checks).unwrap_or(0);
        let given_up = next.max(self.now_ms).saturating_add(interval.saturating_mul(rest));
        lines.push(format!(
            "Next: {connected} is asked for the outcome, {when}. That is check {} of {most}; they are {} apart.",
            checks + 1,
            span(interval)
        ));
        lines.push(format!(
            "  If nobody knows, it is given up after check {most}, not before {}.",
            moment(given_up, self.now_ms)
        ));
        lines
    }

    /// The earliest time of the next check. A start of the broker begins the waiting anew.
    fn next_check(&self, t: &Transaction, newest: &Stored) -> i64 {
        let wait = if checks(newest) > 0 {
            self.setting(&t.broker, "transactionCheckInterval", 30_000)
        } else {
            let own = newest.number(names::CHECK_IMMUNITY_TIME).filter(|seconds| *seconds >= 0);
            let default = || self.setting(&t.broker, "transactionTimeOut", 6000);
            own.map_or_else(default, |seconds| seconds.saturating_mul(1000))
        };
        let boot = self.fact(&t.broker, "bootTimestamp").and_then(|text| text.parse().ok()).unwrap_or(0);
        newest.stored_ms.max(boot).saturating_add(wait)
    }

    fn delayed(&self, record: &Stored) -> Vec<String> {
        let (level, delay_ms) = self.level(&record.broker, record.queue + 1);
        let due = record.stored_ms.saturating_add(delay_ms);
        let to = format!("queue {} of {}", record.number(names::REAL_QUEUE_ID).unwrap_or(0), record.target());
        if !self.waits(record) {
            let made = |r: &&Stored| r.broker == record.broker && r.topic == record.target();
            let marked = self.records.iter().filter(made).find(|r| r.prepared == mark(record));
            let later = || self.records.iter().filter(made).find(|r| r.stored_ms >= record.stored_ms);
            return vec![match marked.or_else(later) {
                Some(message) => format!(
                    "Now: its delay of {level} (level {}) is over: it was delivered {} after its time as offset {} of queue {} \
                     of {}.",
                    record.queue + 1,
                    span((message.stored_ms - due).max(0)),
                    message.offset,
                    message.queue,
                    message.topic
                ),
                None => format!(
                    "Now: its delay of {level} (level {}) is over, and no message was made of it: {to} could not take it, or \
                     what it became was removed. The broker's log tells; it can be read by its id until retention removes it.",
                    record.queue + 1
                ),
            }];
        }
        let mut lines = vec![format!(
            "Now: it waits for its time, by level {} ({level}). Consumers do not see it.",
            record.queue + 1
        )];
        lines.extend(self.until_due(record, due, &format!("it comes to {to}")));
        lines
    }

    /// What a waiting record waits for: the time, or those before it.
    fn until_due(&self, record: &Stored, due: i64, what: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if due > self.now_ms {
            lines.push(format!("Next: {what} at {}.", moment(due, self.now_ms)));
            return lines;
        }
        lines.push(format!("Next: {what} at once: it is due since {}.", moment(due, self.now_ms)));
        let head = self.heads.get(&(record.broker.clone(), record.queue));
        if let Some(head) = head.filter(|head| head.offset < record.offset) {
            lines.push(format!(
                "  It waits behind {} of its level; the first is {} for {}.",
                count(record.offset - head.offset, "message"),
                head.id,
                head.target()
            ));
        } else {
            lines.push(
                "  It is the first of its level; if it stays so, the broker's log tells what holds it up."
                    .to_owned(),
            );
        }
        lines
    }

    /// True while its level has not come to a record.
    fn waits(&self, record: &Stored) -> bool {
        let next = self.level_next(&record.broker, record.queue).unwrap_or(0);
        i64::try_from(record.offset).is_ok_and(|offset| offset >= next)
    }

    /// Where a message stands with a group that could not handle it.
    fn retried(&self, group: &str, record: &Stored) -> Vec<String> {
        let most = self.most_tries.get(group).copied();
        let of = most.map_or(String::new(), |most| format!(" of {most}"));
        if record.topic.starts_with(name::DLQ_PREFIX) {
            let origin = record.property(names::ORIGIN_MESSAGE_ID);
            return vec![
                format!(
                    "Now: group {group} gave it up {}, when it had failed {}: it is a dead letter, and the group does not get it \
                     any more. It was first {} of topic {}.",
                    from_now(record.stored_ms, self.now_ms),
                    count(u64::try_from(record.times).unwrap_or(0), "time"),
                    origin.map_or("a message".to_owned(), |id| format!("message {id}")),
                    record.sent_to()
                ),
                format!(
                    "Next: nothing, until retention removes it. Who reads topic {} gets it.",
                    record.topic
                ),
            ];
        }
        if record.topic == name::SCHEDULE_TOPIC {
            let (level, delay_ms) = self.level(&record.broker, record.queue + 1);
            let due = record.stored_ms.saturating_add(delay_ms);
            if !self.waits(record) {
                return vec![format!(
                    "Now: group {group} could not handle it, and its wait for retry {}{of} is over; no record of that retry was \
                     found: what it became was removed, or the group was deleted.",
                    record.times
                )];
            }
            let mut lines = vec![format!(
                "Now: group {group} could not handle it: it waits for retry {}{of}, by level {} ({level}).",
                record.times,
                record.queue + 1
            )];
            lines.extend(self.until_due(record, due, &format!("group {group} gets it again")));
            return lines;
        }
        let at = self.progress.iter().find(|at| {
            at.group == group
                && at.broker == record.broker
                && at.topic == record.topic
                && at.queue == record.queue
        });
        let offset = at.and_then(|at| at.offset);
        if offset.is_some_and(|offset| i64::try_from(record.offset).is_ok_and(|own| own < offset)) {
            return vec![format!(
                "Now: group {group} failed {} and is past retry {}{of}: it did not give it back again, so it was handled then.",
                count(u64::try_from(record.times).unwrap_or(0), "time"),
                record.times
            )];
        }
        let mut lines = vec![
            format!(
                "Now: group {group} could not handle it; retry {}{of} is waiting for the group.",
                record.times
            ),
            format!("Next: {}.", reached(group, offset, record)),
        ];
        lines.push(match most {
            Some(most) if record.times >= most => "  If it fails again it becomes a dead letter.".to_owned(),
            _ => {
                let (level, _) = self.level(&record.broker, FIRST_RETRY_LEVEL + record.times);
                format!("  If it fails again it waits {level}, for retry {}{of}.", record.times + 1)
            }
        });
        lines
    }
}

/// Where a group is, seen from a message in its queue.
fn reached(group: &str, offset: Option<i64>, record: &Stored) -> String {
    let own = i64::try_from(record.offset).unwrap_or(i64::MAX);
    match offset {
        None => format!("group {group} has committed nothing in queue {} yet", record.queue),
        Some(offset) if offset > own => format!("group {group} is past it, at offset {offset}"),
        Some(offset) if offset == own => format!("group {group} gets it next, at offset {offset}"),
        Some(offset) => format!(
            "group {group} is at offset {offset}, {} before it",
            count(u64::try_from(own - offset).unwrap_or(0), "message")
        ),
    }
}

/// Checks that a copy of a half message counts.
fn checks(copy: &Stored) -> u64 {
    copy.number(names::TRANSACTION_CHECK_TIMES).and_then(|times| u64::try_from(times).ok()).unwrap_or(0)
}

/// The number that a delivered message has from the delayed one (ARCHITECTURE.md, delayed messages).
fn mark(waited: &Stored) -> i64 {
    let offset = i64::try_from(waited.offset).unwrap_or(i64::MAX >> 15);
    -1 - ((i64::from(waited.queue) << 48) + offset)
}

/// The level of the first retry.
const FIRST_RETRY_LEVEL: i32 = 3;

#[cfg(test)]
mod tests;
