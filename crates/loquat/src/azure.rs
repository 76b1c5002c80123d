//! What Azure's own programs read from the environment for Azure OpenAI, where each resource has an address of its own.
//!
//! <https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle>: the API without versions is at `/openai/v1`, and the
//! model's name is that of a deployment; the one before, by deployment and version, at `/openai`.

/// The variable that says where.
pub(crate) const VARIABLE: &str = "AZURE_OPENAI_ENDPOINT";

/// Where either API is, by the provider's name. The variable has the resource's address, or that of either API.
pub(crate) fn addresses(endpoint: &str) -> [(&'static str, String); 2] {
    let resource = endpoint.trim().trim_end_matches('/');
    let resource =
        ["/openai/v1", "/openai"].iter().find_map(|path| resource.strip_suffix(path)).unwrap_or(resource);
    [("azure", format!("{resource}/openai/v1")), ("azure-deployment", format!("{resource}/openai"))]
}
