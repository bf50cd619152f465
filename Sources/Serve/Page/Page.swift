import HTTPTypes
import Hummingbird
import NIOCore

/// The page for people: no script and no style from elsewhere, and a policy that has the browser see to it.
enum Page {
    private static let policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        + "form-action 'none'; frame-ancestors 'none'"

    /// Adds `/` and what it needs.
    static func add(to router: Router<BasicRequestContext>) {
        add("/", PackageResources.page_html, "text/html; charset=utf-8", to: router)
        add("/page.css", PackageResources.page_css, "text/css; charset=utf-8", to: router)
        add("/page.js", PackageResources.page_js, "text/javascript; charset=utf-8", to: router)
    }

    private static func add(
        _ path: RouterPath, _ bytes: [UInt8], _ type: String, to router: Router<BasicRequestContext>
    ) {
        router.get(path) { _, _ in
            var response = Response(
                status: .ok, headers: [.contentType: type, .cacheControl: "no-cache", .contentSecurityPolicy: policy],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
            response.headers[.xContentTypeOptions] = "nosniff"
            return response
        }
    }
}
