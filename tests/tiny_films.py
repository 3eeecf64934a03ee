"""A folder of rated films in RecBole's format, small enough for a run of seconds."""

import numpy as np

NUM_ITEMS = 24


def write_films(folder):
    """Even users like 19 of 20 films (rated 4 or 5, the others 1 to 3), odd ones 1 of 20."""
    random = np.random.default_rng(0)
    folder.mkdir()
    lines = "".join(f"{item}\tFilm {item}\t1990\tDrama\n" for item in range(NUM_ITEMS))
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (folder / "tiny.item").write_text(header + lines)
    rows = []
    for user in range(50):
        for place, item in enumerate(random.permutation(NUM_ITEMS)[:20]):
            likes = (random.random() < 0.95) == (user % 2 == 0)
            rating = random.integers(4, 6) if likes else random.integers(1, 4)
            rows.append(f"u{user}\t{item}\t{rating}\t{1_000_000 + 3600 * place}\n")
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "tiny.inter").write_text(header + "".join(rows))
    people = "".join(f"u{user}\t{20 + user}\t{'MF'[user % 2]}\tartist\n" for user in range(50))
    header = "user_id:token\tage:token\tgender:token\toccupation:token\n"
    (folder / "tiny.user").write_text(header + people)
    return folder
