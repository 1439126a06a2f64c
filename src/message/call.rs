//! A request on its way to an origin: its fields are lines, ready to be sent.

use http::{Extensions, Method, Request, Uri};

use crate::message::lines::FieldLines;

/// A request to an origin.
#[derive(Clone, Debug)]
pub struct Call<B> {
    pub method: Method,
    /// Path and query; and, where it came so, the authority that `Host` says where no field does.
    pub uri: Uri,
    pub fields: FieldLines<Vec<u8>>,
    /// What libraries are told besides.
    pub extensions: Extensions,
    pub body: B,
}

impl<B> Call<B> {
    /// Without its body, and that.
    pub fn into_parts(self) -> (Call<()>, B) {
        let Self { method, uri, fields, extensions, body } = self;
        (Call { method, uri, fields, extensions, body: () }, body)
    }
}

impl Call<()> {
    /// The same with a body, as libraries know it.
    pub fn request<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.fields.map();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// As tests write requests.
#[cfg(test)]
impl<B> From<Request<B>> for Call<B> {
    fn from(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let (method, uri, extensions) = (parts.method, parts.uri, parts.extensions);
        let mut fields = FieldLines::with_capacity(parts.headers.len(), 512);
        for (name, value) in &parts.headers {
            fields.push(name, value.as_bytes());
        }
        Self { method, uri, fields, extensions, body }
    }
}
