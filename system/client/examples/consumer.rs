//! One member of a group, until it is interrupted: `cargo run -p client --example consumer -- 127.0.0.1:9876 orders`.
#![allow(clippy::print_stdout, reason = "a program that is watched")]

use client::{Consumed, PushConsumer, StartFrom};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name_servers = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    // Any tokio runtime will do; this starts one.
    runtime::run(None, move || consume(name_servers, topic))
}

async fn consume(name_servers: String, topic: String) -> Result<()> {
    let consumer = PushConsumer::builder("example-consumer")
        .name_servers(&name_servers)
        .subscribe(&*topic, "*")
        .start_from(StartFrom::First)
        .listen(|batch| async move {
            for message in &batch {
                let body = String::from_utf8_lossy(&message.body);
                println!("{} at {}: {body}", message.queue, message.offset);
            }
            Consumed::Ok
        })
        .start()
        .await?;
    runtime::signal::shutdown().await;
    consumer.shutdown().await;
    Ok(())
}
