//! A client's request, from which each target of the alias gets its own.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::Request;
use serde_json::value::{RawValue, to_raw_value};

use crate::config::Target;

pub(crate) type Call = Request<Arc<Prompt>>;

/// A JSON body. Values keep their text, down to the last digit.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) alias: String,
    members: BTreeMap<String, Box<RawValue>>,
}

impl Prompt {
    /// `None` if the body is not an object with a model.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
        let alias = serde_json::from_str(members.get("model")?.get()).ok()?;
        Some(Self { alias, members })
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.members
            .get("stream")
            .is_some_and(|it| it.get() == "true")
    }

    /// The body for a provider, with the provider's name of the model.
    pub(crate) fn body_for(&self, model: &str) -> serde_json::Result<Vec<u8>> {
        let model = to_raw_value(model)?;
        let members = self.members.iter().map(|(name, value)| (&**name, &**value));
        let mut body: BTreeMap<&str, &RawValue> = members.collect();
        body.insert("model", &model);
        serde_json::to_vec(&body)
    }

    /// The length of the prompt in bytes of JSON.
    fn length(&self) -> usize {
        let prompts = ["messages", "prompt", "input"].iter();
        prompts
            .filter_map(|it| self.members.get(*it))
            .map(|it| it.get().len())
            .sum()
    }
}

/// Returns whether a target accepts this call. `x-provider` pins one of its alias's providers.
pub(crate) fn is_for(target: &Target, call: &Call) -> bool {
    let (headers, prompt) = (call.headers(), call.body());
    let is_pinned = headers
        .get("x-provider")
        .is_none_or(|it| *it == *target.provider);
    let is_short = target.longest_prompt.is_none_or(|it| prompt.length() <= it);
    let is_streamed = target.stream.is_none_or(|it| prompt.is_stream() == it);
    is_pinned && is_short && is_streamed
}
