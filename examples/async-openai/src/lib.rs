//! The async-openai client over a chain of providers: its requests go to the first that is healthy.

mod client;
mod judge;
mod upstream;

pub use self::{
    client::{Endpoint, Limits, client, http_client},
    upstream::{Condition, Upstream},
};

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    types::chat::{
        ChatCompletionRequestUserMessage, CreateChatCompletionRequest,
        CreateChatCompletionRequestArgs,
    },
};
use tokio_stream::StreamExt;

/// Requests a complete answer.
///
/// # Errors
///
/// If the client fails.
pub async fn ask(client: &Client<OpenAIConfig>) -> Result<String, OpenAIError> {
    let answer = client.chat().create(question()?).await?;
    let contents = answer.choices.into_iter().map(|it| it.message.content);
    Ok(contents.flatten().collect())
}

/// Requests a stream, and adds each piece of the answer to `text` as it comes.
///
/// # Errors
///
/// If the client fails. Part of the answer may be in `text` already.
pub async fn stream(client: &Client<OpenAIConfig>, text: &mut String) -> Result<(), OpenAIError> {
    let mut answer = client.chat().create_stream(question()?).await?;
    while let Some(chunk) = answer.next().await {
        let deltas = chunk?.choices.into_iter().map(|it| it.delta.content);
        text.extend(deltas.flatten());
    }
    Ok(())
}

/// Returns the request of both functions.
///
/// # Errors
///
/// Never, because the question is complete.
pub fn question() -> Result<CreateChatCompletionRequest, OpenAIError> {
    let message = ChatCompletionRequestUserMessage::from("Who are you?");
    CreateChatCompletionRequestArgs::default()
        .model("small")
        .messages([message.into()])
        .build()
}
