//! Whether listeners fit each other and the certificates that they show.

use crate::config::check::{At, Check};
use crate::config::file::listen::{Listen, Listeners, Tls};

impl Check<'_> {
    pub(super) fn listeners(&mut self) {
        let at = self.root.key("listen");
        let listeners = self.file.listen.as_slice();
        for (index, listen) in listeners.iter().enumerate() {
            let place = match self.file.listen {
                Listeners::One(_) => at.clone(),
                Listeners::Many(_) => at.index(index),
            };
            self.listener(listen, &place);
            let Some(address) = listen.address().filter(|address| address.0.port() != 0) else {
                continue;
            };
            if listeners[..index].iter().any(|other| other.address() == Some(address)) {
                self.fault(&place, format!("`{address}` is listed twice"), "remove one of them");
            }
            if address == self.file.admin.listen {
                let admin = self.root.key("admin").key("listen").or(place);
                let what = format!("`{address}` is both for clients and for the admin side");
                self.fault(&admin, what, "give the admin side a port of its own, such as 9090");
            }
        }
        self.tls();
        let admin = self.root.key("admin");
        let open = !self.file.admin.listen.0.ip().is_loopback();
        let tokens = admin.key("tokens");
        if open && self.file.admin.tokens.is_empty() && !self.told.covers(&tokens.path) {
            let what = format!(
                "`{}` can be reached by others, and there is no token",
                self.file.admin.listen
            );
            let right = "add `admin.tokens`, or listen on 127.0.0.1";
            self.fault(&admin.key("listen"), what, right);
        }
        for (index, network) in self.file.trusted_proxies.iter().enumerate() {
            if network.bits == 0 {
                let at = self.root.key("trusted_proxies").index(index);
                let what = format!("`{network}` believes everybody about who they are");
                self.warn(&at, what, "name the networks of your own proxies");
            }
        }
    }

    fn listener(&mut self, listen: &Listen, at: &At<'_>) {
        if listen.address().is_none() {
            let right = "add address: 0.0.0.0:8443";
            self.fault(&at.key("address"), "this listener has no `address`", right);
        }
        let tls = self.root.key("tls");
        if listen.tls() == Some(true) && self.file.tls.is_none() && !self.told.covers(&tls.path) {
            let right = "add tls: { certificate: FILE, key: FILE } at the top of the file";
            self.fault(&at.key("tls"), "TLS is spoken here, and there is no certificate", right);
        }
        let at = at.key("proxy_protocol");
        if listen.proxy_protocol().is_some_and(|it| it.from.is_none()) {
            let right = "add the networks of the balancers: from: [ 10.0.0.0/8 ]";
            self.fault(&at.key("from"), "`proxy_protocol` says not who is believed", right);
        }
        for (index, network) in listen.balancers().iter().enumerate() {
            if network.bits == 0 {
                let what = format!("`{network}` believes everybody about who they are");
                let right = "name the networks of your own load balancers";
                self.warn(&at.key("from").index(index), what, right);
            }
        }
    }

    fn tls(&mut self) {
        let file = self.file;
        let Some(tls) = &file.tls else { return };
        let at = self.root.key("tls");
        if file.listen.as_slice().iter().all(|listen| listen.tls() != Some(true)) {
            let right = "write tls: true at a listener, or remove this";
            self.warn(&at, "there are certificates, and no listener speaks TLS", right);
        }
        let alone = (tls.certificate.as_deref(), tls.key.as_deref());
        if alone == (None, None) && tls.certificates.is_empty() && !self.is_partly_faulty(&at) {
            let right = "add certificate: FILE and key: FILE, or a list of both as `certificates`";
            self.fault(&at.key("certificate"), "`tls` has no certificate", right);
        }
        if alone != (None, None) {
            if !tls.certificates.is_empty() {
                let what = "`tls` has both a `certificate` and `certificates`";
                self.fault(&at.key("certificates"), what, "put all of them into the list");
            }
            self.certificate(alone, &at);
        }
        for (index, pair) in tls.certificates.iter().enumerate() {
            let pair = (pair.certificate.as_deref(), pair.key.as_deref());
            self.certificate(pair, &at.key("certificates").index(index));
        }
        self.clients(tls, &at.key("client"));
    }

    fn clients(&mut self, tls: &Tls, at: &At<'_>) {
        if tls.client.is_none() {
            return;
        }
        let Some(ca) = tls.ca() else {
            let right = "add ca: FILE, with the certificate of who signs them";
            return self.fault(&at.key("ca"), "clients show certificates of nobody", right);
        };
        self.authorities(ca, &at.key("ca"));
    }
}
