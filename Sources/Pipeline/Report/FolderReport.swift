import Base

/// What `meraser report` makes of a folder: of a run's, of a removal's that chose its own dose, of a search's, or of
/// a scan's.
public protocol FolderReport: Sendable {
    /// `report.json`, or the object that the folder holds in its place.
    var json: JSONValue { get }
    /// What `report --json` prints.
    var summary: JSONValue { get }
    /// The figures as rows of cells, their names first; for terminals.
    var table: [[String]] { get }
    /// The answers to a reader's questions, a line each, for terminals.
    var verdictLines: [String] { get }
    /// Where the page lies.
    var htmlPath: String { get }
    /// True if triggers, targets and outputs are hashes.
    var isRedacted: Bool { get }

    /// The page: one file that needs nothing else.
    func html() throws -> String
    /// The page's figures as tables for other programs.
    var sheets: [FigureSheet] { get }
    /// Writes page and figures into the folder that they are of.
    func write() throws
}

/// Reads a folder that meraser has made, finished or not, and writes nothing.
///
/// - Throws: a bad-input error that names the file, if the folder holds nothing that has a report, or something damaged.
public func folderReport(of path: String) throws -> any FolderReport {
    let folder = try RunFolder(existing: path)
    let identity = try folder.identity()
    if identity["auto"]?.string != nil { return try AutoReport(folder) }
    if identity["search"]?.string != nil { return try SearchPage(folder) }
    if identity["scan"]?.string != nil { return try ScanReport(folder) }
    return try RunReport(folder)
}
