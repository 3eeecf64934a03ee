"""Data sets: user-item interactions, the catalogue of items, and splits by time or at random.

- `read_table`, `from_dataframe`, `read_folder`, `from_tfds`, `movielens_100k`, `movielens_1m`,
  `book_crossing` and `synthetic` return `Interactions`;
- `split_by_time`, `split_leave_one_out`, `split_by_global_time` and `split_at_random` turn them
  into `Splits`: `Windows` to train on, `Queries` to evaluate. `split_cold_items` removes the items
  of `choose_cold_items` from training and evaluates on them;
- `read_item_attributes` reads further item attributes; `attribute_vectors` turns them into numbers;
- `read_user_columns` reads user attributes; an `AttributeVocabulary` turns them into indices;
- `split_ratings`, `movielens_ranking` and `clothing_reviews` return `RankingExamples`: rows of a
  query and an item with one label per task. `unlabelled_rows` draws further rows for a teacher to
  label. `WordVocabulary` turns their texts into indices;
- `Catalogue` holds the items with titles and texts; `WordPieces` turns them into indices;
- `minilm_folder` is a downloaded asset, like the data sets.
"""

from tfrs_distill.data.assets import minilm_folder
from tfrs_distill.data.book_crossing import book_crossing
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.clothing_reviews import clothing_reviews
from tfrs_distill.data.cold_items import choose_cold_items, split_cold_items
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.item_features import attribute_vectors
from tfrs_distill.data.movielens import from_tfds, movielens_1m, movielens_100k
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.rated_rows import movielens_ranking, split_ratings
from tfrs_distill.data.readers import read_folder
from tfrs_distill.data.splits import (
    Queries,
    split_at_random,
    split_by_global_time,
    split_by_time,
    split_leave_one_out,
)
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.data.tables.items_table import read_item_attributes
from tfrs_distill.data.tables.read import from_dataframe, read_table
from tfrs_distill.data.tables.users_table import read_user_columns
from tfrs_distill.data.unlabelled_rows import unlabelled_rows
from tfrs_distill.data.windows import Windows
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.word_pieces import WordPieces

__all__ = [
    "AttributeVocabulary",
    "Catalogue",
    "Interactions",
    "Queries",
    "RankingExamples",
    "Windows",
    "WordPieces",
    "attribute_vectors",
    "book_crossing",
    "choose_cold_items",
    "clothing_reviews",
    "from_dataframe",
    "from_tfds",
    "minilm_folder",
    "movielens_100k",
    "movielens_1m",
    "movielens_ranking",
    "read_folder",
    "read_item_attributes",
    "read_table",
    "read_user_columns",
    "split_at_random",
    "split_by_global_time",
    "split_by_time",
    "split_cold_items",
    "split_leave_one_out",
    "split_ratings",
    "synthetic",
    "unlabelled_rows",
]
