/// When requests may begin: so many a minute, evenly, and none while the server asked for a pause.
actor RequestPace {
    /// Between two requests; zero: as they come.
    private let interval: Duration
    private var next: ContinuousClock.Instant?

    init(perMinute: Double?) { interval = perMinute.map { .seconds(60 / $0) } ?? .zero }

    /// Takes the next place; gives how long to wait for it.
    func reserve(now: ContinuousClock.Instant = .now) -> Duration {
        let start = max(now, next ?? now)
        next = start + interval
        return start - now
    }

    /// Lets nothing begin for a while.
    func hold(_ pause: Duration, now: ContinuousClock.Instant = .now) { next = max(next ?? now, now + pause) }
}
