//! Which handler answers which request.

use std::sync::Arc;

use net::{Peer, Reply, Service};
use protocol::{Command, HeaderError, Request, rpc::*};

use crate::{
    Broker,
    refusal::{Answer, Refusal},
};

impl Service for Broker {
    // No `async fn`: its arguments would take their room twice, and every parked call pays for it.
    #[allow(clippy::manual_async_fn, reason = "see above")]
    fn handle(&self, peer: &Arc<Peer>, command: Command) -> impl Future<Output = Reply> + Send {
        async move {
            match self.answer(peer, &command).await {
                Ok(reply) => reply,
                Err(refusal) => {
                    tracing::debug!(peer = %peer.remote, "refused: {refusal}");
                    refusal.reply()
                }
            }
        }
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.peer_closed(peer);
    }

    /// Nobody would read the answer of a pull; everything else changes something and runs to its end.
    fn survives_close(&self, code: i32) -> bool {
        !is_pull(code)
    }

    fn overloaded(&self, command: &Command) -> Option<Reply> {
        match command.code {
            code if is_pull(code) => command.header::<PullMessage>().ok().map(|h| self.refuse_to_hold(&h)),
            SendMessage::CODE | SendMessageV2::CODE | SendBatchMessage::CODE | ConsumerSendMsgBack::CODE => {
                Some(Reply::busy("[REJECTREQUEST]system busy, start flow control for a while"))
            }
            _ => None,
        }
    }
}

fn is_pull(code: i32) -> bool {
    code == PullMessage::CODE || code == LitePullMessage::CODE
}

impl Broker {
    /// The common requests are awaited in place; rare ones that wait are boxed, because every parked call costs the
    /// size of the largest one.
    async fn answer(&self, peer: &Arc<Peer>, c: &Command) -> Answer {
        match c.code {
            SendMessageV2::CODE | SendMessage::CODE => {
                let h = read_send(c)?;
                self.send(peer, c.version, &h, &c.body).await
            }
            SendBatchMessage::CODE => {
                let h = read_send(c)?;
                Box::pin(self.send_batch(peer, c.version, &h, &c.body)).await
            }
            PullMessage::CODE | LitePullMessage::CODE => {
                // The same fields under both codes.
                let h = c.header().map_err(refuse::<PullMessage>)?;
                self.pull(peer, &h).await
            }
            ConsumerSendMsgBack::CODE => Box::pin(self.send_back(c.version, read(c)?)).await,

            EndTransaction::CODE => Box::pin(self.end_transaction(c, read(c)?)).await,
            ResumeCheckHalfMessage::CODE => Box::pin(self.resume_checks(read(c)?)).await,

            Heartbeat::CODE => Box::pin(self.heartbeat(peer, c)).await,
            UnregisterClient::CODE => self.unregister_client(peer, &read(c)?),
            GetConsumerListByGroup::CODE => self.consumer_list(peer, &read(c)?),
            CheckClientConfig::CODE => self.check_client_config(&c.body),
            LockBatchMq::CODE => self.lock_batch(&c.body),
            UnlockBatchMq::CODE => self.unlock_batch(&c.body),

            QueryConsumerOffset::CODE => Box::pin(self.query_offset(read(c)?)).await,
            UpdateConsumerOffset::CODE => self.update_offset(peer, c.is_oneway(), &read(c)?),
            GetMaxOffset::CODE => Box::pin(self.max_offset(read(c)?)).await,
            GetMinOffset::CODE => self.min_offset(&read(c)?),
            SearchOffsetByTimestamp::CODE => Box::pin(self.offset_by_time(read(c)?)).await,
            GetEarliestMsgStoretime::CODE => Box::pin(self.earliest_time(read(c)?)).await,
            QueryMessage::CODE => Box::pin(self.query_message(read(c)?)).await,
            GetConsumerRunningInfo::CODE => Box::pin(self.running_info(c, read(c)?)).await,
            ConsumeMessageDirectly::CODE => Box::pin(self.consume_directly(read(c)?)).await,
            ViewMessageById::CODE => Box::pin(self.view_message(read(c)?)).await,

            UpdateAndCreateTopic::CODE => Box::pin(self.update_topic(read(c)?)).await,
            UpdateAndCreateTopicList::CODE => Box::pin(self.update_topics(&c.body)).await,
            DeleteTopicInBroker::CODE => Box::pin(self.delete_topic(read(c)?)).await,
            GetAllTopicConfig::CODE => self.all_topics(),
            GetTopicConfig::CODE => self.topic_config(&read(c)?),
            GetSystemTopicListFromBroker::CODE => self.system_topics(),
            UpdateAndCreateSubscriptionGroup::CODE => Box::pin(self.update_group(&c.body)).await,
            UpdateAndCreateSubscriptionGroupList::CODE => Box::pin(self.update_groups(&c.body)).await,
            DeleteSubscriptionGroup::CODE => Box::pin(self.delete_group(read(c)?)).await,
            GetAllSubscriptionGroupConfig::CODE => self.all_groups(),
            GetSubscriptionGroupConfig::CODE => self.group_config(&read(c)?),

            GetTopicStatsInfo::CODE => Box::pin(self.topic_stats(read(c)?)).await,
            GetConsumeStats::CODE => Box::pin(self.consume_stats(read(c)?)).await,
            GetConsumerConnectionList::CODE => self.consumer_connections(&read(c)?),
            GetProducerConnectionList::CODE => self.producer_connections(&read(c)?),
            GetAllProducerInfo::CODE => self.all_producers(),
            QueryTopicConsumeByWho::CODE => self.groups_of_topic(&read(c)?),
            QueryTopicsByConsumer::CODE => self.topics_of_group(&read(c)?),
            QuerySubscriptionByConsumer::CODE => self.subscription_of_group(&read(c)?),
            GetAllConsumerOffset::CODE => self.all_offsets(),
            CloneGroupOffset::CODE => Box::pin(self.clone_offsets(read(c)?)).await,

            GetBrokerConfig::CODE => self.broker_config(),
            UpdateBrokerConfig::CODE => self.update_broker_config(&c.body),
            GetBrokerRuntimeInfo::CODE => Box::pin(self.runtime_info()).await,

            other => Ok(Reply::unsupported(other)),
        }
    }
}

/// Reads the fields of a request.
fn read<R: Request>(command: &Command) -> Result<R, Refusal> {
    command.header::<R>().map_err(refuse::<R>)
}

/// Reads the fields of a request that sends.
fn read_send(command: &Command) -> Result<SendView<'_>, Refusal> {
    let request = || name(command.code).expect("sends are in the table");
    SendView::read(&command.ext).map_err(|error| Refusal::Header { request: request(), error })
}

fn refuse<R: Request>(error: HeaderError) -> Refusal {
    Refusal::Header { request: R::NAME, error }
}
