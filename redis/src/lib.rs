#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod reply;
mod store;

pub use redis;

pub use self::store::RedisStore;
