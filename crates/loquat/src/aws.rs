//! What Amazon's own programs read from the environment, for Bedrock.
//!
//! <https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html>. Files of profiles and roles of machines are not
//! read: whoever has those has a tool that puts their keys into the environment.

/// The address of Bedrock in the region that is set.
pub(crate) fn address(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))?;
    Some(format!("https://bedrock-runtime.{}.amazonaws.com", region.trim()))
}

/// The key pair that is set.
#[cfg(feature = "aws")]
pub(crate) fn key(variable: impl Fn(&str) -> Option<String>) -> Option<loquat_core::Secret> {
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    let mut credentials = loquat_provider::AwsCredentials::new(id, secret);
    if let Some(token) = variable("AWS_SESSION_TOKEN") {
        credentials = credentials.with_session_token(token);
    }
    Some(credentials.into())
}
