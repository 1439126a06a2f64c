//! A request on its way to an origin: its fields are lines, ready to be sent.

use http::{Extensions, HeaderMap, Method, Request, Uri};

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
    /// Both apart.
    pub fn into_parts(self) -> (Call<()>, B) {
        let Self { method, uri, fields, extensions, body } = self;
        (Call { method, uri, fields, extensions, body: () }, body)
    }
}

impl Call<()> {
    /// The same with a body, as libraries know it.
    pub fn into_request<B>(self, body: B) -> Request<B> {
        let Self { method, uri, fields, extensions, body: () } = self;
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        (*request.headers_mut(), *request.extensions_mut()) = (fields.into_map(), extensions);
        request
    }
}

impl<B> From<Request<B>> for Call<B> {
    fn from(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let (method, uri, extensions) = (parts.method, parts.uri, parts.extensions);
        Self { method, uri, fields: lines_of(&parts.headers), extensions, body }
    }
}

fn lines_of(map: &HeaderMap) -> FieldLines<Vec<u8>> {
    let mut lines = FieldLines::with_capacity(map.len(), 512);
    map.iter().for_each(|(name, value)| lines.push(name, value.as_bytes()));
    lines
}
