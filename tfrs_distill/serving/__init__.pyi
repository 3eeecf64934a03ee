from .ranker import Ranker as Ranker
from .recommender import Recommender as Recommender
