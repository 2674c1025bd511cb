//! The async-openai client over a chain of providers: what it sends goes to the first that is healthy.

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

/// Asks for a whole answer.
///
/// # Errors
///
/// The client's.
pub async fn ask(client: &Client<OpenAIConfig>) -> Result<String, OpenAIError> {
    let answer = client.chat().create(question()?).await?;
    let contents = answer.choices.into_iter().map(|it| it.message.content);
    Ok(contents.flatten().collect())
}

/// Asks for a stream, and adds each piece of the answer to `text` as it comes.
///
/// # Errors
///
/// The client's. Some of the answer may have come before.
pub async fn stream(client: &Client<OpenAIConfig>, text: &mut String) -> Result<(), OpenAIError> {
    let mut answer = client.chat().create_stream(question()?).await?;
    while let Some(chunk) = answer.next().await {
        let deltas = chunk?.choices.into_iter().map(|it| it.delta.content);
        text.extend(deltas.flatten());
    }
    Ok(())
}

/// What both of them ask.
///
/// # Errors
///
/// None: the question is complete.
pub fn question() -> Result<CreateChatCompletionRequest, OpenAIError> {
    let message = ChatCompletionRequestUserMessage::from("Who are you?");
    CreateChatCompletionRequestArgs::default()
        .model("small")
        .messages([message.into()])
        .build()
}
