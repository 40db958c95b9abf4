//! Producers and consumers for RocketMQ brokers, in async Rust.
//!
//! A [`Producer`] sends [`Message`]s and tells for each whether it is stored ([`SendReceipt`]), surely not
//! stored, or perhaps stored ([`SendError::may_have_happened`]). A [`PushConsumer`] is one member of a group: the
//! members share the queues of a topic and each message is given to a listener until the listener accepts
//! it. A [`PullConsumer`] reads queues at offsets of the caller's choice and finds
//! single messages by key or id. A [`TransactionProducer`] sends messages that are delivered when, and only when,
//! something local was done.
//!
//! Everything runs on the tasks of the node that starts it; on tokio it is enough to be inside a runtime.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{Consumed, Message, Producer, PushConsumer};
//!
//! let producer = Producer::builder("order-service").name_servers("127.0.0.1:9876").start().await?;
//! let receipt = producer.send(Message::new("orders", "one coffee").tag("drinks").key("order-1")).await?;
//! assert_eq!(&*receipt.queue.topic, "orders");
//!
//! let consumer = PushConsumer::builder("kitchen")
//!     .name_servers("127.0.0.1:9876")
//!     .subscribe("orders", "drinks || food")
//!     .listen(|batch| async move {
//!         for message in &batch {
//!             if message.body.is_empty() {
//!                 return Consumed::Later;
//!             }
//!         }
//!         Consumed::Ok
//!     })
//!     .start()
//!     .await?;
//! consumer.shutdown().await;
//! producer.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod answers;
mod back;
mod calls;
mod decode;
mod error;
mod instance;
mod member;
mod message;
mod producer;
mod pull;
mod push;
mod query;
mod session;
mod settings;
mod state;
mod transaction;
mod wire;
mod work;

pub use bytes::Bytes;
pub use error::{CallError, Fault, SendError, StartError};
pub use message::{Message, MessageQueue, Received, SendReceipt, SendStatus};
pub use producer::{Producer, ProducerBuilder};
pub use protocol::Text;
pub use protocol::compression::Compression;
pub use pull::{PullConsumer, PullConsumerBuilder, PullStatus, Pulled};
pub use push::{Batch, Consumed, PushConsumer, PushConsumerBuilder};
pub use query::Matches;
pub use state::allocate::Allocation;
pub use state::offsets::StartFrom;
pub use transaction::{Outcome, TransactionProducer, TransactionProducerBuilder, TransactionReceipt};
