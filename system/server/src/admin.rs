//! What an operator asks a running cluster: so far, to explain a message. Asks only what mqadmin asks too, so that it
//! works with Java's brokers as well.

mod calls;
mod facts;
mod find;
mod story;
mod words;

use std::env;

use runtime::task::TaskSet;

use crate::{cli, failure::Failure, say};
use calls::Cluster;
use find::Wanted;

/// Answers one question and ends.
pub(crate) fn main(flags: cli::Admin) -> Result<(), Failure> {
    let cli::AdminCommand::Explain(flags) = flags.command;
    let given = flags.namesrv_addr.or_else(|| env::var("NAMESRV_ADDR").ok());
    let name_servers = given.filter(|text| !text.is_empty()).ok_or_else(|| {
        Failure::answer("no name server is given: write -n HOST:PORT, or set NAMESRV_ADDR in the environment")
    })?;
    let wanted = match (flags.id, flags.topic, flags.unique_key, flags.key) {
        (Some(id), ..) => Wanted::Id(id),
        (None, Some(topic), Some(key), _) => Wanted::Unique { topic, key },
        (None, Some(topic), None, Some(key)) => Wanted::Key { topic, key },
        _ => unreachable!("the command line asks for an id, or for a topic and one of the keys"),
    };
    runtime::run(Some(1), move || explain(name_servers, wanted))
}

async fn explain(name_servers: String, wanted: Wanted) -> Result<(), Failure> {
    let tasks = TaskSet::new();
    let told = async {
        let cluster = Cluster::find(&name_servers, &tasks).await?;
        let found = find::find(&cluster, &wanted).await?;
        let case = facts::gather(&cluster, found).await;
        Ok(story::tell(&case))
    }
    .await;
    tasks.close().await;
    say(&told?)
}
