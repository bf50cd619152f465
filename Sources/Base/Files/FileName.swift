/// The last component of a path: what is published must not show the folders of the machine that it was made on.
public func fileName(ofPath path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
