"""Window PoSts on a real chain: each partition of each deadline of each miner, proved once and in time.

`mind` decides (pure), `posts` has the records, `reading` asks the chain, `windows` carries out what is decided at each head. Before a deadline
takes no more declarations, `reviews` reads its sectors, and declares what is lost and what is back. `here` is this machine as a prover;
the others are workers of the plan `wdpost`. `day` is what people are shown of it, `upcoming` the least of that.
"""
