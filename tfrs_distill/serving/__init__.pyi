from .ranker import Ranker
from .recommender import Recommender
