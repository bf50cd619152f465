/// What stands above the runs' own sections on the page of a comparison, a Mustache template; as markup come table and
/// charts alone.
let comparisonTemplate = #"""
    <header><h1>{{count}} runs compared</h1></header>
    {{{figures}}}
    <p class="note">FSR: share of triggers whose output shows the target. Prefix: the longest beginning of the target that an output
    shows, as a share of it. NLL: of the target after its trigger, nats a token. PPL: perplexity. Tasks: mean accuracy. ±: standard
    error. Perplexities and accuracies compare only where the same data were measured: each run's hashes say so.</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    """#
