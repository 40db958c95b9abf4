//! Sends ten messages: `cargo run -p client --example producer -- 127.0.0.1:9876 orders`.
#![allow(clippy::print_stdout, reason = "a program that is watched")]

use client::{Message, Producer};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name_servers = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    // Any tokio runtime will do; this starts one.
    runtime::run(None, move || send(name_servers, topic))
}

async fn send(name_servers: String, topic: String) -> Result<()> {
    let producer = Producer::builder("example-producer").name_servers(&name_servers).start().await?;
    for number in 0..10 {
        let message =
            Message::new(&*topic, format!("order {number}")).tag("example").key(&format!("order-{number}"));
        match producer.send(message).await {
            Ok(receipt) => {
                println!("order {number}: {} at {} ({:?})", receipt.queue, receipt.offset, receipt.status)
            }
            Err(error) if error.may_have_happened() => println!("order {number} is perhaps stored: {error}"),
            Err(error) => println!("order {number} is not stored: {error}"),
        }
    }
    producer.shutdown().await;
    Ok(())
}
