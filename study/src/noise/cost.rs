//! The cost of a breaker for callers of a provider that fails at random.

#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// The errors that callers see, from the provider or from the breaker.
    pub(crate) errors: u32,
    /// The number of failed calls until the breaker opens, if the provider goes down afterwards.
    pub(crate) failures_to_open: Option<u32>,
}

impl Cost {
    pub(super) fn mean(costs: &[Self]) -> Self {
        let mean = |of: Vec<u32>| {
            let number = u32::try_from(of.len()).expect("seeds are few");
            (of.into_iter().sum::<u32>() + number / 2) / number
        };
        let failures: Option<_> = costs.iter().map(|cost| cost.failures_to_open).collect();
        Self {
            errors: mean(costs.iter().map(|cost| cost.errors).collect()),
            failures_to_open: failures.map(mean),
        }
    }
}
