import Base
import Foundation

/// A self-contained page: a title, a body of markup, and one style sheet for light and dark, paper and phone.
///
/// Its policy (`default-src 'none'`) lets it load nothing; of styles and scripts only the sheet in its head and `script` are
/// allowed, by hash, so no markup in the body can bring its own. Texts in `body` must have been escaped (`escapedForHTML`,
/// Mustache).
struct HTMLPage {
    /// The title, plain text.
    let title: String
    /// What `<main>` holds: markup.
    let body: String
    /// What it runs at its end; nil: nothing, and nothing may run.
    var script: PageScript?

    /// The page.
    func html() -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="\(policy)">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="referrer" content="no-referrer">
        <title>\(title.escapedForHTML)</title>
        <style>\(pageStyle)</style>
        </head>
        <body>
        <main>
        \(body)
        </main>
        \(script.map { "<script>\($0.text)</script>\n" } ?? "")</body>
        </html>

        """
    }

    private var policy: String {
        let scripts = script.map { " script-src 'sha256-\(Self.base64SHA256($0.text))';" } ?? ""
        return "default-src 'none'; style-src 'sha256-\(Self.base64SHA256(pageStyle))';\(scripts) base-uri 'none'; "
            + "form-action 'none'"
    }

    private static func base64SHA256(_ text: String) -> String {
        let digits = Array(sha256Hex(text.utf8))
        let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap { index in
            UInt8(String(digits[index...index + 1]), radix: 16)
        }
        return Data(bytes).base64EncodedString()
    }
}
